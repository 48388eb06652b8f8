"""Drawings of segmentations and of their scores. No other folder imports matplotlib."""
