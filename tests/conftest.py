"""What all tests share."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from nnunetv2_spinesegdiff import locks

# How long an example takes says nothing on a machine that runs other things beside it.
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
