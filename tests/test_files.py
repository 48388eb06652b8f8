"""Files appear under their final name only when they are whole."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.files import json_object, load_json, save_json, written_whole

NAMES = ["mask.nii.gz", "scan.mha", "table.csv", "no_ending", "v1.2.json", "a.b.nii.gz"]


def write_half(path: Path, error: type[BaseException]) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("half")
        raise error


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_whole_or_absent(tmp_path, name):
    path = tmp_path / "new" / "folder" / name
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            write_half(path, error)
        assert not list(path.parent.iterdir())
    with written_whole(path) as temporary, written_whole(path) as other:
        assert not path.exists()
        assert temporary != other
        temporary.write_text("whole")
        other.write_text("whole")
    assert [p.name for p in path.parent.iterdir()] == [name]
    assert path.read_text() == "whole"


def test_an_interrupted_file_leaves_its_predecessor(tmp_path):
    (tmp_path / "mask.nii.gz").write_text("old")
    with pytest.raises(ValueError):  # noqa: PT011 - raised without a message
        write_half(tmp_path / "mask.nii.gz", ValueError)
    assert [p.name for p in tmp_path.iterdir()] == ["mask.nii.gz"]
    assert (tmp_path / "mask.nii.gz").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "ending"),
    [("mask.nii.gz", ".nii.gz"), ("scan.mha", ".mha"), ("v1.2.json", ".json"), ("a.b.nii.gz", ".nii.gz")],
)
def test_the_temporary_name_lies_beside_and_keeps_the_ending(tmp_path, name, ending):
    with written_whole(tmp_path / name) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(ending)
        assert not temporary.name.endswith(name)
        assert temporary.name.startswith(".")


def test_permissions_are_those_of_any_other_file(tmp_path):
    (tmp_path / "ordinary").touch()
    with written_whole(tmp_path / "ours"):
        pass
    modes = {stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("ordinary", "ours")}
    assert len(modes) == 1


def test_json_is_whole_or_absent(tmp_path):
    save_json({"a": [1, 2]}, tmp_path / "good.json")
    assert load_json(tmp_path / "good.json") == json_object(tmp_path / "good.json") == {"a": [1, 2]}
    with pytest.raises(TypeError):
        save_json({"a": object()}, tmp_path / "bad.json")
    assert [p.name for p in tmp_path.iterdir()] == ["good.json"]
    for content in ("[1]", '{"a": '):
        (tmp_path / "good.json").write_text(content)
        assert json_object(tmp_path / "good.json") == json_object(tmp_path / "none.json") == {}
