"""What runs unpack goes with them."""

from __future__ import annotations

import tempfile

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.segmentation.scratch import scratch_folder


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_kill_left_is_removed_and_what_runs_is_not(temporary):
    with scratch_folder() as running:
        left = temporary / "spinesegdiff_left"
        (left / "content").mkdir(parents=True)
        (left / "content" / "scan").write_text("")
        (left / "lock").touch()
        with scratch_folder():
            assert not left.exists()
            assert running.is_dir()


def test_a_run_that_is_about_to_take_its_lock_is_left_alone(temporary):
    made = temporary / "spinesegdiff_made"
    made.mkdir()
    (made / "lock").touch()
    with scratch_folder():
        assert made.is_dir()


def test_where_no_locks_are_known_it_works_and_removes_nothing_of_others(temporary, no_locks, monkeypatch):
    with scratch_folder() as first, scratch_folder() as second:
        assert first.is_dir()
        assert second.is_dir()
        assert (first.parent.stat().st_mode & 0o77) == 0
    assert list(temporary.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "nowhere"))
    with pytest.raises(UserError, match="TMPDIR"), scratch_folder():
        pass
