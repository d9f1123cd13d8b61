"""Where things stand in a drawing, and in which colours."""
