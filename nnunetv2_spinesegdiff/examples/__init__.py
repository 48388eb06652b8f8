"""Two real scans to try the package on; README.txt gives their source and license."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def example_scans() -> list[Path]:
    """Return the example scans that are installed with the package.

    Returns:
        A T1w and a T2w sagittal slice of one patient, as one-slice .mha volumes: 81_t1.mha and 81_t2.mha.

    Examples:
        >>> from nnunetv2_spinesegdiff import example_scans
        >>> [path.name for path in example_scans()]
        ['81_t1.mha', '81_t2.mha']
    """
    return sorted(FOLDER.glob("*.mha"))
