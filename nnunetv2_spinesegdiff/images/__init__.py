"""Scans in the files that they come in: found, read, examined, and answered in kind."""
