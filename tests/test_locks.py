from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from nnunetv2_spinesegdiff.locks import locked

HOLD = """
import sys, time
from pathlib import Path
from nnunetv2_spinesegdiff.locks import locked
with locked(Path(sys.argv[1])) as holds:
    print(holds, flush=True)
    time.sleep(60)
"""


def test_one_holds_it_until_its_block_ends(tmp_path):
    with locked(tmp_path / "lock") as first:
        assert first
        with locked(tmp_path / "lock") as second:
            assert not second
        with locked(tmp_path / "other") as other:
            assert other
    with locked(tmp_path / "lock") as third:
        assert third


def test_it_ends_with_its_process(tmp_path):
    path = tmp_path / "lock"
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with locked(path) as holds:
            assert not holds
        process.kill()
    with locked(path) as holds:
        assert holds


def test_who_waits_gets_it(tmp_path):
    held = []

    def wait():
        with locked(tmp_path / "lock", wait=True) as holds:
            held.append(holds)

    waiting = threading.Thread(target=wait)
    with locked(tmp_path / "lock"):
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert not held
    waiting.join(10)
    assert held == [True]


def test_a_file_system_without_locks_stops_nobody(tmp_path, no_locks):
    with locked(tmp_path / "lock") as first, locked(tmp_path / "lock", wait=True) as second:
        assert first
        assert second
    with locked(tmp_path / "lock", without_locks=False) as holds:
        assert not holds


def test_a_lock_file_that_cannot_be_made_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), locked(tmp_path / "nowhere" / "lock"):
        pass
