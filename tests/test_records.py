"""What a record of finished work knows later."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.records import Record

MADE_FROM = {"size": (3, 4), "model": "abc"}


@pytest.fixture
def record(tmp_path: Path) -> Record:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.nii.gz").write_bytes(b"mask")
    made = Record(tmp_path / "records" / "a.json", tmp_path)
    assert made.content() is None
    made.begin()
    assert made.content_if_current(MADE_FROM) is None
    kept = made.finish(MADE_FROM, [tmp_path / "masks" / "a.nii.gz"], seconds=2)
    assert made.content_if_current(MADE_FROM) == kept
    return made


def test_files_are_listed_below_the_root_beside_further_facts(record):
    content = record.content()
    assert list(content["files"]) == ["masks/a.nii.gz"]
    assert content["seconds"] == 2
    assert content["made_from"] == {"size": [3, 4], "model": "abc"}


def test_what_was_made_otherwise_or_changed_since_is_not_current(record):
    assert record.content_if_current({**MADE_FROM, "model": "abd"}) is None
    (record.root / "masks" / "a.nii.gz").write_bytes(b"masc")
    assert record.content_if_current(MADE_FROM) is None
    (record.root / "masks" / "a.nii.gz").unlink()
    assert record.content_if_current(MADE_FROM) is None


@pytest.mark.parametrize("text", ["", '{"made_from": {"si', "[]", "3", '{"made_from": 3, "files": 3}'])
def test_a_damaged_record_is_no_error(record, text):
    record.path.write_text(text)
    assert record.content() is not None
    assert record.content_if_current(MADE_FROM) is None
