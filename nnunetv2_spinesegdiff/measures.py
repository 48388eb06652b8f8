"""What an uncertainty map can show (no torch here: the report reads it)."""

from __future__ import annotations

from math import e
from typing import NamedTuple


class Measure(NamedTuple):
    """What an uncertainty map shows.

    Attributes:
        name: name of the measure, with its unit. NIfTI maps have it in a header extension.
        highest: the largest possible value, the end of the color scale.
    """

    name: str
    highest: float


ENTROPY = Measure("entropy (nats)", 1 / e)
VARIANCE = Measure("variance", 0.25)
ERROR = Measure("probability of a wrong label", 0.75)
"""Of four classes the largest value is 0.75. Maps of more classes have the same color scale."""

MEASURES = {measure.name: measure for measure in (ENTROPY, VARIANCE, ERROR)}
