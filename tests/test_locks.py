from __future__ import annotations

import errno
import fcntl
import os
import threading

import pytest

from nnunetv2_spinesegdiff.locks import lock


@pytest.fixture
def descriptors(tmp_path):
    """Of one file, opened twice."""
    opened = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield opened
    for descriptor in opened:
        os.close(descriptor)


def test_one_holds_it_until_it_closes(descriptors):
    first, second = descriptors
    assert lock(first)
    assert not lock(second)
    fcntl.flock(first, fcntl.LOCK_UN)
    assert lock(second)


def test_who_waits_gets_it(descriptors):
    first, second = descriptors
    assert lock(first)
    held = []
    waiting = threading.Thread(target=lambda: held.append(lock(second, wait=True)))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert not held
    fcntl.flock(first, fcntl.LOCK_UN)
    waiting.join(10)
    assert held == [True]


def test_a_file_system_without_locks_stops_nobody(descriptors, monkeypatch):
    def unknown(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unknown)
    assert all(lock(descriptor) for descriptor in descriptors)
