"""Where nnU-Net finds the SpineSegDiff trainers: everything is passed on from their real, importable home."""

from __future__ import annotations

from typing import Any

from nnunetv2_spinesegdiff.errors import show_user_errors_in_one_line
from nnunetv2_spinesegdiff.training import trainers

# Only nnU-Net's commands search this module, and a user's mistake deserves no traceback in them.
show_user_errors_in_one_line()


def __getattr__(name: str) -> Any:
    return getattr(trainers, name)
