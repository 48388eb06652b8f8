"""Synthetic data like SPIDER: spines drawn from parameters, rendered as MR series with exact labels."""

from .cohort import make_phantom

__all__ = ["make_phantom"]
