"""Settings and fixtures for all tests."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from nnunetv2_spinesegdiff import locks
from nnunetv2_spinesegdiff.environment import TRAINERS

# How long an example takes depends on what else the machine does.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

# Tiny networks are quicker on one core than on many.
torch.set_num_threads(1)


class _NoLock(FileLock):
    def acquire(self, *args, **kwargs):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""
    monkeypatch.setattr(locks, "FileLock", _NoLock)


@pytest.fixture
def make_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write a small trained model: make_model(labels=..., trainer=...), see `write_model`."""
    from .helpers.model_folder import write_model  # imports nnU-Net, which most folders do not need

    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    return partial(write_model, tmp_path / "model")


@pytest.fixture
def two_scans(tmp_path: Path) -> Path:
    """A folder with two scans of three slices each, "a" and "b"."""
    from .helpers.model_folder import write_scans

    return write_scans(tmp_path / "scans")
