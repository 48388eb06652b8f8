"""Settings and fixtures for all tests."""

from __future__ import annotations

import errno
import gc
import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from hypothesis import settings
from nnunetv2.utilities import find_class_by_name, utils

from nnunetv2_spinesegdiff import locks, workers
from nnunetv2_spinesegdiff.environment import TRAINERS

# How long an example takes depends on what else the machine does.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")

# Tiny networks are quicker on one core than on many.
torch.set_num_threads(1)

# nnU-Net forks 12 processes to list the files of a folder.
utils.Pool = ThreadPool
# It asks all loaded modules, thousands, where they come from, twice for every trainer that it looks up.
find_class_by_name._module_originates_from_path = cache(find_class_by_name._module_originates_from_path)


FIRST = ("test_commands.py", "test_segment.py", "test_export.py", "test_calibrate.py")
"""Long files in end_to_end. Two workers begin with one each and then take the other two: neither waits for
the other at the end, nor for the model that the first one trains."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        first = item.path.parent.name == "end_to_end" and item.path.name in FIRST
        return FIRST.index(item.path.name) if first else len(FIRST)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What has been loaded stays, and the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


class _NoLock(FileLock):
    def acquire(self, *args, **kwargs):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.fixture
def no_locks(monkeypatch):
    """A file system without locks."""
    monkeypatch.setattr(locks, "FileLock", _NoLock)


@pytest.fixture(scope="module")
def forked_workers():
    """Worker processes that need not import everything again, where they can be forked."""
    with pytest.MonkeyPatch.context() as patched:
        if sys.platform == "linux":
            patched.setattr(workers, "get_context", lambda _: multiprocessing.get_context("fork"))
        yield


@pytest.fixture
def make_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Write a small trained model: make_model(labels=..., trainer=...), see `write_model`."""
    from .helpers.model_folder import write_model  # imports nnU-Net, which most folders do not need

    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    return partial(write_model, tmp_path / "model")


@pytest.fixture
def two_scans(tmp_path: Path) -> Path:
    """A folder with two scans of two slices each, "a" and "b"."""
    from .helpers.model_folder import write_scans

    return write_scans(tmp_path / "scans")
