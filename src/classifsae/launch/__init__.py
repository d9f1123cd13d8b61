"""Where an experiment runs: several processes here, or the jobs of a cluster."""
