"""What the checks of `spinesegdiff doctor` find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nnunetv2_spinesegdiff.doctor import Finding


def found(check: Callable, *args: Any, **options: Any) -> list[Finding]:
    """The findings of a check; it fails if one lacks advice, or a check fails."""
    return [Finding(level, "", *texts) for level, *texts in check(*args, **options)]


def levels(check: Callable, *args: Any) -> list[str]:
    return [finding.level for finding in found(check, *args)]
