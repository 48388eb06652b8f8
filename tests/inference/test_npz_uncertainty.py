"""Maps from the probabilities of stock predictions: values, place, table, and what is left out."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from matplotlib.image import imread
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.inference.npz_uncertainty import entropy, uncertainty_of_folder
from nnunetv2_spinesegdiff.measures import ENTROPY

from ..helpers.model_maps import OBLIQUE, READERS, check_geometry, check_placed, write_scan
from ..helpers.model_plans import LABELS, small_plans
from ..helpers.spider_series import ALL_48

DIRECTION = OBLIQUE @ ALL_48[29]
REGIONS = {"background": 0, "spine": [1, 2, 3], "disc": 3, "ignore": 4}


class Bomb:
    """Ends the tests where somebody unpickles it."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('unpickled')",)


def make_case(
    folder: Path, case: str, reader: type[BaseReaderWriter] = SimpleITKIO, regions: bool = False
) -> np.ndarray:
    """Scan, mask, probabilities and a .pkl that must not be opened.

    Returns:
        -p log p of the structures, (N, K): row n for the scan's voxel of intensity n + 1.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    scan = folder / "images" / f"{case}_0000.nii.gz"
    write_scan(scan, DIRECTION)
    array, properties = reader().read_images([str(scan)])
    random = np.random.default_rng(sum(map(ord, case)))
    if regions:
        probabilities = random.random((2, *array.shape[1:]))
        mask = np.where(probabilities[1] > 0.5, 3, probabilities[0] > 0.5)
    else:
        probabilities = random.dirichlet(np.ones(4) / 3, size=array.shape[1:]).transpose(3, 0, 1, 2)
        mask = probabilities.argmax(0)
    reader().write_seg(mask.astype(np.uint8), str(folder / f"{case}.nii.gz"), properties)
    np.savez_compressed(folder / f"{case}.npz", probabilities=probabilities.astype(np.float32))
    (folder / f"{case}.pkl").write_bytes(pickle.dumps(Bomb()))
    p = (probabilities if regions else probabilities[1:]).astype(np.float32).astype(float)
    expected = np.empty((array.size, len(p)))
    expected[array.ravel().astype(int) - 1] = (-p * np.log(p)).reshape(len(p), -1).T
    return expected


def make_folder(path: Path, reader: str = "SimpleITKIO", labels: dict[str, Any] = LABELS) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "plans.json").write_text(json.dumps(small_plans() | {"image_reader_writer": reader}))
    content: dict[str, Any] = {"labels": labels, "file_ending": ".nii.gz", "channel_names": {"0": "MRI"}}
    if any(isinstance(value, list) for value in labels.values()):
        content["regions_class_order"] = [1, 3]
    (path / "dataset.json").write_text(json.dumps(content))
    return path


@pytest.fixture
def folder(tmp_path) -> Path:
    """A prediction of three cases."""
    made = make_folder(tmp_path / "masks")
    for case in ("a", "b", "c"):
        make_case(made, case)
    return made


def rounded_to(path: Path, scan: Path, expected: np.ndarray) -> None:
    """The map's values are `expected` up to float32, and lie at the scan's voxels."""
    image = nibabel.Nifti1Image.from_filename(path)
    numbers = sitk.GetArrayFromImage(sitk.ReadImage(str(scan))).transpose().astype(int) - 1
    values = np.asarray(image.dataobj).reshape(*numbers.shape, -1)
    np.testing.assert_allclose(values, expected[numbers], atol=1e-6)
    exact = np.empty(expected.shape, np.float32)
    exact[numbers.ravel()] = values.reshape(numbers.size, -1)
    check_placed(path, sitk.ReadImage(str(scan)), exact)
    check_geometry(path, sitk.ReadImage(str(scan)))


@pytest.mark.parametrize("reader", READERS)
def test_maps_hold_the_entropy_at_the_scans_voxels(reader, tmp_path):
    folder = make_folder(tmp_path, reader.__name__)
    expected = make_case(folder, "a", reader)
    done = uncertainty_of_folder(folder)
    assert not done.failures
    scan = folder / "images" / "a_0000.nii.gz"
    rounded_to(folder / "uncertainty" / "a_uncertainty_per_class.nii.gz", scan, expected)
    heatmap, _ = reader().read_images([str(folder / "uncertainty" / "a_uncertainty.nii.gz")])
    wrong = 1 - np.load(folder / "a.npz")["probabilities"].max(0)
    np.testing.assert_allclose(heatmap[0], wrong, atol=1e-6)
    done = uncertainty_of_folder(folder, measure=ENTROPY)
    assert not done.failures
    rounded_to(folder / "uncertainty" / "a_uncertainty.nii.gz", scan, expected.max(1, keepdims=True))


def test_regions_have_a_map_each_and_the_ignore_label_none(tmp_path):
    folder = make_folder(tmp_path, labels=REGIONS)
    expected = make_case(folder, "a", regions=True)
    done = uncertainty_of_folder(folder)
    assert not done.failures
    assert [row["structure"] for row in done.rows] == ["spine", "disc"]
    scan = folder / "images" / "a_0000.nii.gz"
    rounded_to(folder / "uncertainty" / "a_uncertainty_per_class.nii.gz", scan, expected)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "a.nii.gz")))
    voxel = 0.7 * 1.1 * 4.3
    assert done.rows[0]["volume_mm3"] == pytest.approx((mask > 0).sum() * voxel, rel=1e-4)
    assert done.rows[1]["volume_mm3"] == pytest.approx((mask == 3).sum() * voxel, rel=1e-4)


def test_the_table_has_a_row_per_case_and_structure_from_workers_too(tmp_path, forked_workers):
    folder = make_folder(tmp_path / "masks", labels={**LABELS, "ignore": 4})
    for case in ("a", "b", "c"):
        make_case(folder, case)
    done = uncertainty_of_folder(folder, tmp_path / "one")
    table = pd.read_csv(tmp_path / "one" / "confidence.csv")
    assert table["case"].tolist() == [case for case in "abc" for _ in range(3)]
    assert table["structure"].tolist() == ["spinal_canal", "vertebrae", "ivd"] * 3
    assert table["mean_entropy_inside"].between(0, 1 / np.e).all()
    assert table["agreement"].isna().all(), "there is no stage 1"
    # With the scans pictures are drawn; later without them, the old ones would be of other maps.
    shared = uncertainty_of_folder(folder, tmp_path / "two", num_processes=2, images=folder / "images")
    assert not shared.failures
    pd.testing.assert_frame_equal(pd.DataFrame(done.rows), pd.DataFrame(shared.rows))
    assert imread(tmp_path / "two" / "b_overlay.png").ndim == 3
    uncertainty_of_folder(folder, tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 7
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names


def test_entropy_is_that_of_the_paper():
    p = np.array([0, 1e-6, 1 / np.e, 0.5, 1])
    np.testing.assert_allclose(entropy(p), [0, 1.3815e-5, 1 / np.e, 0.5 * np.log(2), 0], atol=1e-7)
    assert not np.signbit(entropy(p)).any()
    assert entropy(p.astype(np.float16)).dtype == np.float32


# --- what is wrong ---------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def save(path: Path, **arrays: Any) -> None:
    np.savez_compressed(path, **arrays)


def probabilities(content: Any, **named: Any) -> Any:
    """Replaces case b's probabilities."""
    return lambda folder: save(folder / "b.npz", probabilities=content, **named)


def remove(*names: str) -> Any:
    return lambda folder: [(folder / name).unlink() for name in names]


DAMAGES = {
    "npz missing": ("b.npz", remove("b.npz")),
    "npz truncated": ("b.npz", lambda f: cut(f / "b.npz")),
    "npz empty": ("b.npz", lambda f: (f / "b.npz").write_bytes(b"")),
    "npz of something else": ("b.npz", lambda f: save(f / "b.npz", softmax=np.ones(3))),
    "npz of objects": ("b.npz", probabilities(np.array([Bomb()], dtype=object))),
    "wrong shape": ("b.npz", probabilities(np.ones((4, 7, 5, 5)) / 4)),
    "wrong heads": ("b.npz", probabilities(np.ones((3, 7, 5, 4)))),
    "logits": ("b.npz", probabilities(np.full((4, 7, 5, 4), 3.0))),
    "NaN": ("b.npz", probabilities(np.full((4, 7, 5, 4), np.nan))),
    "mask missing": ("b.nii.gz", remove("b.nii.gz")),
    "mask truncated": ("b.nii.gz", lambda f: cut(f / "b.nii.gz")),
    "scan missing": ("b_0000.nii.gz", remove("images/b_0000.nii.gz")),
    "scan truncated": ("b_0000.nii.gz", lambda f: cut(f / "images" / "b_0000.nii.gz")),
    "scan of another size": (
        "b_0000.nii.gz",
        lambda f: write_scan(f / "images" / "b_0000.nii.gz", DIRECTION, (5, 5, 7)),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_case_is_one_line_and_the_others_are_done(damage, folder, capsys):
    subject, break_it = DAMAGES[damage]
    words = ["uncertainty", "-i", str(folder), "-np", "1"]
    if damage.startswith("scan"):
        words += ["--images", str(folder / "images")]
    assert main(words) == 0
    capsys.readouterr()
    break_it(folder)
    assert main(words) == 1
    output, errors = capsys.readouterr()
    (line,) = [line for line in errors.splitlines() if line.startswith("error:")]
    assert f"{subject}: " in line
    assert output.startswith("2 cases in ")
    # Maps of an earlier run would pass for maps of what is there now.
    assert {path.name[0] for path in (folder / "uncertainty").iterdir()} == {"a", "c"}
    table = pd.read_csv(folder / "uncertainty" / "confidence.csv")
    assert set(table["case"]) == {"a", "c"}


REFUSALS = {
    "no npz": (remove("a.npz", "b.npz", "c.npz"), "--save_probabilities"),
    "no plans": (remove("plans.json"), r"plans\.json: "),
    "no dataset.json": (remove("dataset.json"), r"dataset\.json: "),
    "broken plans": (lambda f: cut(f / "plans.json"), r"plans\.json: "),
    "other plans": (lambda f: (f / "plans.json").write_text("{}"), "'image_reader_writer'"),
    "other dataset.json": (lambda f: (f / "dataset.json").write_text("[]"), "'labels'"),
    "natural images": (lambda f: make_folder(f, "NaturalImage2DIO"), "NaturalImage2DIO: "),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_folders_that_cannot_be_done_are_refused_in_one_line(reason, folder, capsys):
    break_it, told = REFUSALS[reason]
    break_it(folder)
    assert main(["uncertainty", "-i", str(folder), "-np", "1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(told, line), line
    assert not (folder / "uncertainty").exists()


def test_output_folders_that_are_taken_and_folders_that_are_not_there_are_refused(folder):
    for chosen in ({"folder": folder / "x"}, {"folder": folder, "images": folder / "x"}):
        with pytest.raises(UserError, match="x: "):
            uncertainty_of_folder(**chosen)
    with pytest.raises(UserError, match="maps"):
        uncertainty_of_folder(folder, folder / "images" / "..")
    (folder / "uncertainty" / ".rows").mkdir(parents=True)
    with pytest.raises(UserError, match="--save_uncertainty"):
        uncertainty_of_folder(folder)
