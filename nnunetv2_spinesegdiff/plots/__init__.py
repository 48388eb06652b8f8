"""Drawings of segmentations and of their scores. No other folder imports matplotlib."""

from .cases import CaseRow, draw_cases
from .depth import draw_depth
from .overlay import draw_overlay
from .pairs import draw_pairs
from .pathology import draw_pathology
from .reliability import draw_reliability
from .style import COLORS
from .systems import draw_systems

__all__ = [
    "COLORS",
    "CaseRow",
    "draw_cases",
    "draw_depth",
    "draw_overlay",
    "draw_pairs",
    "draw_pathology",
    "draw_reliability",
    "draw_systems",
]
