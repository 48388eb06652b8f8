"""Scores, statistics, tables and the report of finished predictions."""
