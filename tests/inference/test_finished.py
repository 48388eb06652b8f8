"""Which cases are finished: files are read to their end, and a folder holds masks of one kind."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.files import written_whole
from nnunetv2_spinesegdiff.inference import confidence_table
from nnunetv2_spinesegdiff.inference.confidence_table import collect_confidence
from nnunetv2_spinesegdiff.inference.finished import Outputs, is_whole, keep_record
from nnunetv2_spinesegdiff.plots.reliability import draw_reliability
from nnunetv2_spinesegdiff.uncertainty.temperature import reliability

VOXELS = np.random.default_rng(0).integers(0, 4, (3, 20, 30)).astype(np.uint8)
RECORD = {"trainer": "nnUNetTrainerSpineSegDiff", "refine": True, "sampler": {"t_start": 30}}


def image(path: Path, compress: bool = False) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path), useCompression=compress)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "mask.nii.gz": image,
    "mask.nii": image,
    "mask.nrrd": image,
    "mask.mha": image,
    "compressed.mha": lambda path: image(path, compress=True),
    "case.npz": lambda path: np.savez_compressed(path, probabilities=VOXELS.astype(np.float32)),
    "case.pkl": lambda path: path.write_bytes(pickle.dumps({"spacing": [1.0, 2.0, 3.0]})),
    "case.json": lambda path: path.write_text(json.dumps([{"case": "a", "structure": "ivd"}])),
    "case.png": lambda path: draw_reliability({"a": reliability(np.ones(3), np.ones(3, bool))}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_truncation_shows(name, tmp_path):
    path = tmp_path / name
    WRITERS[name](path)
    content = path.read_bytes()
    assert is_whole(path)
    lengths = {0, 1, len(content) // 2, *range(max(0, len(content) - 12), len(content))}
    lengths |= set(np.linspace(0, len(content) - 1, 25).astype(int).tolist())
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        assert not is_whole(path), f"{length} of {len(content)} bytes"
    path.unlink()
    assert not is_whole(path)


@pytest.fixture
def outputs(tmp_path) -> Outputs:
    """All files of one case, whole."""
    made = Outputs(tmp_path / "case", ".nii.gz", probabilities=True, uncertainty=True)
    made.rows.parent.mkdir(parents=True)
    for path in (made.mask, made.uncertainty_map, made.uncertainty_per_class):
        image(path)
    for path in (made.npz, made.pkl, made.overlay, made.rows):
        WRITERS[f"case{path.suffix}"](path)
    return made


def test_a_case_is_finished_when_all_that_is_wanted_is_whole(outputs):
    assert outputs.are_whole()
    for path in (outputs.mask, outputs.npz, outputs.pkl, outputs.overlay, outputs.uncertainty_map):
        content = path.read_bytes()
        path.write_bytes(content[:-2])
        assert not outputs.are_whole(), path
        path.write_bytes(content)
    outputs.rows.unlink()
    assert not outputs.are_whole()
    assert Outputs(outputs.truncated, ".nii.gz", probabilities=True).are_whole()


def test_what_is_not_wanted_is_removed_or_everything(outputs, tmp_path):
    Outputs(outputs.truncated, ".nii.gz", uncertainty=True).remove(unwanted_only=True)
    assert not outputs.npz.exists()
    assert not outputs.pkl.exists()
    assert outputs.overlay.exists()
    image(outputs.truncated.with_name("case2.nii.gz"))
    outputs.remove()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["case2.nii.gz"]


def killed_while_writing(path: Path) -> Path:
    """What is left of `path` where its process was killed, with no time to take its temporary file away."""
    with suppress(KeyboardInterrupt), written_whole(path) as temporary:
        raise KeyboardInterrupt
    temporary.write_bytes(b"half of it")
    return temporary


@pytest.mark.parametrize("unwanted_only", [True, False])
def test_what_a_killed_run_left_half_written_goes_with_its_case(outputs, unwanted_only):
    """nnU-Net's evaluation takes a hidden file for a mask, too."""
    halves = [killed_while_writing(p) for p in (outputs.mask, outputs.npz, outputs.overlay, outputs.rows)]
    others = [killed_while_writing(outputs.mask.with_name(n)) for n in ("case.2.nii.gz", "acase.nii.gz")]
    outputs.remove(unwanted_only)
    assert not any(half.exists() for half in halves)
    assert all(other.exists() for other in others)
    assert outputs.are_whole() is unwanted_only


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"refine": False}, "refine True instead of False"),
        ({"sampler": {"t_start": 10}}, "sampler .*30.* instead of .*10"),
        ({"precision": "bfloat16"}, "precision None instead of bfloat16"),
    ],
)
def test_masks_of_one_kind_can_be_gone_on_with_and_of_another_are_refused(tmp_path, changes, told):
    other = {**RECORD, **changes}
    keep_record(tmp_path, other, overwrite=True, ending=".nii.gz")
    killed_while_writing(tmp_path / "a.nii.gz")  # is no mask yet
    keep_record(tmp_path, RECORD, overwrite=False, ending=".nii.gz")
    image(tmp_path / "a.nii.gz")
    keep_record(tmp_path, RECORD, overwrite=False, ending=".nii.gz")
    with pytest.raises(UserError, match=told) as refused:
        keep_record(tmp_path, other, overwrite=False, ending=".nii.gz")
    assert "\n" not in str(refused.value)
    path = tmp_path / "spinesegdiff_args.json"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(UserError, match=r"spinesegdiff_args\.json: cannot be read"):
        keep_record(tmp_path, RECORD, overwrite=False, ending=".nii.gz")
    keep_record(tmp_path, other, overwrite=True, ending=".nii.gz")
    keep_record(tmp_path, other, overwrite=False, ending=".nii.gz")


# --- confidence.csv --------------------------------------------------------------------------------------


def rows_of(folder: Path, case: str) -> Path:
    """The part of confidence.csv that the export of a case leaves."""
    path = Outputs(folder / case, ".nii.gz").rows
    path.parent.mkdir(parents=True, exist_ok=True)
    row = {"case": case, "structure": "ivd", "area_mm2": 12.5, "agreement": 0.9, "low_agreement": False}
    path.write_text(json.dumps([row]))
    return path


def collected(folder: Path) -> list[str]:
    """Cases of confidence.csv, collected now."""
    collect_confidence(folder)
    lines = (folder / "uncertainty" / "confidence.csv").read_text().splitlines()
    assert all(line.split(",")[1:3] == ["ivd", "12.5"] for line in lines[1:])
    return [line.split(",")[0] for line in lines[1:]]


def test_the_table_holds_the_rows_of_all_parts(tmp_path):
    """As with -num_parts: every part collects what is there when it ends."""
    first = rows_of(tmp_path, "b")
    assert collected(tmp_path) == ["b"]
    second = rows_of(tmp_path, "a")
    # Another part is writing, or was killed while it wrote.
    killed_while_writing(first)
    killed_while_writing(tmp_path / "uncertainty" / ".rows" / "c.json")
    assert collected(tmp_path) == ["a", "b"]
    for path in (first, second, *(tmp_path / "uncertainty" / ".rows").iterdir()):
        path.unlink(missing_ok=True)
    collect_confidence(tmp_path)
    assert not list(tmp_path.iterdir())


def test_rows_that_change_meanwhile_are_collected_again(tmp_path, monkeypatch):
    """Another part ends with its case, or predicts one again, while this one writes the table."""
    first, write = rows_of(tmp_path, "a"), confidence_table.write_confidence
    changes: list[Callable[[], Any]] = [
        lambda: first.write_text(first.read_text().replace('"a"', '"z"')),
        lambda: rows_of(tmp_path, "b"),
        first.unlink,
    ]

    def writing(*args):
        write(*args)
        if changes:
            changes.pop(0)()

    monkeypatch.setattr(confidence_table, "write_confidence", writing)
    assert collected(tmp_path) == ["b"]
    assert not changes


def test_a_table_that_was_not_collected_stays(tmp_path):
    """`spinesegdiff uncertainty` writes one of its own."""
    (tmp_path / "uncertainty").mkdir()
    (tmp_path / "uncertainty" / "confidence.csv").write_text("case\n")
    collect_confidence(tmp_path)
    assert (tmp_path / "uncertainty" / "confidence.csv").is_file()
    collect_confidence(tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
