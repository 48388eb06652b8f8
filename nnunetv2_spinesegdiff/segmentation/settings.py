"""What a user may choose about the segmentation of a scan."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import UserError
from ..inference.settings import PredictionSettings
from .measuring.levels import LOWEST_DISCS

NAMED_SLICES = ("auto", "middle", "all")
Slices = str | int
"""One of `NAMED_SLICES` ("auto" is the midsagittal one), or a number, 0 = the patient's leftmost."""


@dataclass(frozen=True)
class SegmentationSettings:
    """How scans are read, predicted and written.

    Attributes:
        slices: which sagittal slices are segmented.
        series: of a DICOM exam: number, UID or description; of a NIfTI file of several volumes: the number
            of one of them, from 1.
        any_plane: take scans whose slices are not sagittal, too.
        lowest_disc: name of the lowest disc in the scans, one of `LOWEST_DISCS`; None to find it out.
        mirroring: nnU-Net's test-time augmentation.
        prediction: how the model predicts; maps are always made.

    Raises:
        UserError: `slices` or `lowest_disc` is none of these.
    """

    slices: Slices = "auto"
    series: str | None = None
    any_plane: bool = False
    lowest_disc: str | None = None
    mirroring: bool = True
    prediction: PredictionSettings = field(default_factory=lambda: PredictionSettings(save_uncertainty=True))

    def __post_init__(self) -> None:
        number = isinstance(self.slices, int) and not isinstance(self.slices, bool) and self.slices >= 0
        if not number and not (isinstance(self.slices, str) and self.slices in NAMED_SLICES):
            names = ", ".join(NAMED_SLICES)
            raise UserError(f"slices {self.slices!r}", f"choose {names}, or a number from 0, the leftmost")
        if self.lowest_disc is not None and self.lowest_disc not in list(LOWEST_DISCS):
            advice = "choose for example L5-S1, L4-L5, L6-S1 or S1-S2"
            raise UserError(f"lowest_disc {self.lowest_disc!r}", "is not the name of a disc", advice)

    def as_record(self) -> dict[str, Any]:
        """Plain values, for JSON: equal records give equal results."""
        return asdict(self)
