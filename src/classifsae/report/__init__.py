"""Scores for people: tables."""
