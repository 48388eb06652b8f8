"""`spinesegdiff evaluate --instances`: drawn, synthetic and real spines, from files to tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from nnunetv2_spinesegdiff.dataset_conversion.label_rules import map_labels

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import INSTANCE_COLUMNS, read_evaluation
from nnunetv2_spinesegdiff.evaluation.report.numbering import predicted_numbers
from nnunetv2_spinesegdiff.evaluation.report.sources import Case
from nnunetv2_spinesegdiff.labels import CLASSES

from ...helpers.drawn_spine import DrawnSpine
from ...helpers.masks import LABELS, ORIGIN, write_volume
from ...helpers.phantom_truth import series_of
from ...helpers.spider_series import ALL_48, SHARED_DATA, rotation

SPINE = DrawnSpine()
STRUCTURES = {name: label for name, label in CLASSES.items() if label}
MM = (1.0, 1.0, 4.0)
COUNT = len(SPINE.discs)


def write(array: np.ndarray, path: Path) -> Path:
    return write_volume(array if array.ndim == 3 else array[None], path, spacing=MM)


@pytest.fixture
def truth(tmp_path) -> Path:
    """Masks of two patients with SPIDER's numbers. The upmost vertebra is cut off."""
    for name in ("1_t1", "1_t2", "2_t1"):
        numbers = SPINE.numbers()
        numbers[numbers == COUNT] += 100
        write(numbers, tmp_path / "truth" / f"{name}.nii.gz")
    return tmp_path / "truth"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name.removesuffix(".nii.gz") for path in folder.iterdir())


def segmented(truth: Path, ending: str = "") -> Path:
    """Perfect masks of classes."""
    for name in names_in(truth):
        write(SPINE.mask(), truth.parent / "masks" / f"{name}{ending}.nii.gz")
    return truth.parent / "masks"


def evaluate(truth: Path, masks: Path, *more: str) -> int:
    words = ["evaluate", "-s", f"A={masks}", "--instances", str(truth), "-o", str(truth.parent / "out")]
    return main([*words, *more])


def results(truth: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """instances.csv, and the table of panoptic quality by structure."""
    folder = truth.parent / "out"
    table = pd.read_csv(folder / "tables" / "panoptic.csv", keep_default_na=False, na_values="n/a")
    return read_evaluation(folder).instances, table.set_index("structure")


def test_perfect_masks_of_classes_have_a_quality_of_one(truth, capsys):
    assert evaluate(truth, segmented(truth)) == 0
    rows, table = results(truth)
    assert tuple(rows.columns) == INSTANCE_COLUMNS
    assert len(rows) == 3 * 2 * COUNT
    assert (rows["found"] == "both").all()
    assert (rows["dice"] == 1).all()
    assert rows["number_right"].all()
    assert set(rows.loc[rows["structure"] == "vertebrae", "number"]) == set(range(1, COUNT + 1))
    assert set(rows["patient"]) == {"1", "2"}
    whole = table.groupby("structure").last()  # after those of single contrasts
    assert (whole[["pq", "rq", "sq", "sq_dice", "number_right"]] == 1).all(axis=None)
    assert whole["tp"].tolist() == [3 * COUNT] * 2
    levels = pd.read_csv(truth.parent / "out" / "tables" / "level_dice.csv")
    assert (levels["dice"] == 1).all()
    assert {"L5", "L5-S1"} <= set(levels["level_name"])
    printed = capsys.readouterr().out
    assert "| A | T1w + T2w | vertebrae | 2 | 1.000 |" in printed
    assert "IoU is above 0.5" in printed


def test_a_missed_a_false_and_a_merged_instance(truth):
    """A disc that the mask lacks, and two vertebrae that are one in the numbers of the prediction."""
    masks = segmented(truth, "_seg")
    for name in names_in(truth):
        numbers = SPINE.numbers()
        numbers[numbers == 203] = 0
        numbers[(numbers > 2) & (numbers < 100)] -= 1  # 2 and 3 are one
        numbers[5:25, 5:25] = 210
        write(numbers, masks / f"{name}_levels.nii.gz")
    assert evaluate(truth, masks) == 0
    rows, _ = results(truth)
    own = rows[rows["case"] == "2_t1"].set_index("structure")
    discs = own.loc["ivd"]
    assert discs.loc[discs["found"] == "missed", "number"].tolist() == [203]
    assert discs.loc[discs["found"] == "false", "predicted_number"].tolist() == [210]
    assert discs.loc[discs["found"] == "false", "predicted_mm2"].tolist() == [400]
    bones = own.loc["vertebrae"]
    assert bones.loc[bones["found"] == "missed", "number"].tolist() == [2, 3]
    assert bones.loc[bones["found"] == "false", "predicted_number"].tolist() == [2]
    assert bones.loc[bones["found"] == "both", "number_right"].tolist() == [True, False, False]
    dice = pd.read_csv(truth.parent / "out" / "scores.csv")["dice"]
    assert (dice == 1).all(), "the mask of classes is scored as it is"


def test_numbers_alone_are_a_prediction(truth, tmp_path):
    """Numbers that are all wrong by one change the column of numbers only."""
    for name in names_in(truth):
        numbers = SPINE.numbers()
        numbers[(numbers > 0) & (numbers != 100)] += 1
        write(numbers, tmp_path / "masks" / f"{name}_levels.nii.gz")
    assert evaluate(truth, tmp_path / "masks") == 0
    rows, table = results(truth)
    assert (rows["predicted_number"] == rows["number"] + 1).all()
    assert (table["pq"] == 1).all()
    assert (table["number_right"] == 0).all()
    assert (read_evaluation(tmp_path / "out").scores["dice"] == 1).all()


def test_labels_of_a_dataset_take_numbers_from_masks_with_another_grid(truth, tmp_path):
    """The label ignores the lowest disc. A disc that is predicted there is not false."""
    fine = SPINE.numbers().repeat(2, axis=0).repeat(2, axis=1)
    labels = tmp_path / "raw" / "labelsTr"
    for name in names_in(truth):
        origin = (ORIGIN[0], ORIGIN[1] - 0.25, ORIGIN[2] + 0.25)
        write_volume(fine[None], tmp_path / "fine" / f"{name}.mha", origin, spacing=(0.5, 0.5, 4.0))
        label = SPINE.mask()
        label[SPINE.numbers() == 201] = 4
        write(label, labels / f"SPIDER_00{name}.nii.gz")
        write(SPINE.mask(), tmp_path / "masks" / f"SPIDER_00{name}.nii.gz")
    dataset = '{"labels": {"background": 0, "spinal_canal": 1, "vertebrae": 2, "ivd": 3, "ignore": 4}}'
    (tmp_path / "raw" / "dataset.json").write_text(dataset)
    assert evaluate(tmp_path / "fine", tmp_path / "masks", "-l", str(labels)) == 0
    rows, table = results(truth)
    assert (rows["found"] == "both").all()
    assert rows["number_right"].all()
    assert (rows["dice"] == 1).all()
    assert 201 not in set(rows["number"])
    assert (table["pq"] == 1).all()
    assert set(read_evaluation(tmp_path / "out").level_scores["level"]) == set(range(2, COUNT + 1))


def test_masks_without_the_numbers_of_vertebrae_have_scores_of_discs(truth, tmp_path):
    masks = segmented(truth)
    (tmp_path / "dataset.json").write_text('{"labels": ' + str(LABELS).replace("'", '"') + "}")
    discs = np.where(SPINE.numbers() > 200, SPINE.numbers(), 0)
    for name in names_in(truth):
        write(discs, tmp_path / "discs" / f"{name}.nii.gz")
    assert evaluate(tmp_path / "discs", masks, "-l", str(masks)) == 0
    rows, table = results(truth)
    assert set(rows["structure"]) == {"ivd"}
    assert (table["pq"] == 1).all()
    note = read_evaluation(tmp_path / "out").notes[0]
    assert note.startswith("3 cases lack scores of single vertebrae or discs")


def test_an_evaluation_without_instances_removes_their_tables(truth, tmp_path):
    masks = segmented(truth)
    assert evaluate(truth, masks) == 0
    (tmp_path / "dataset.json").write_text('{"labels": ' + str(LABELS).replace("'", '"') + "}")
    out = tmp_path / "out"
    assert main(["evaluate", "-s", f"A={masks}", "-l", str(masks), "-o", str(out)]) == 0
    assert not [*out.rglob("instances*"), *out.rglob("panoptic*"), *out.rglob("level*")]
    assert read_evaluation(out).instances.empty


@pytest.mark.parametrize(
    ("spoil", "subject"),
    [
        (lambda folder: write(SPINE.mask() + 90, folder / "truth" / "2_t1.nii.gz"), "truth"),
        (lambda folder: write(SPINE.numbers(), folder / "masks" / "2_t1.nii.gz"), "masks"),
        (
            lambda folder: (folder / "masks" / "dataset.json").write_text('{"labels": {"ivd": 1}}'),
            "truth",
        ),
    ],
)
def test_masks_of_another_numbering_are_one_line_each(truth, tmp_path, capsys, spoil, subject):
    masks = segmented(truth)
    spoil(tmp_path)
    assert evaluate(truth, masks) == 1
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert str(tmp_path / subject) in line


def test_a_missing_folder_of_instances_is_one_line(tmp_path, capsys):
    assert evaluate(tmp_path / "none", tmp_path) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'none'}: ")
    assert not (tmp_path / "out").exists()


def test_the_mask_of_one_slice_of_several_is_rejected(tmp_path, capsys):
    several = np.repeat(SPINE.numbers()[None], 3, axis=0)
    mask = np.repeat(SPINE.mask()[None], 3, axis=0)
    for name in ("1_t1", "2_t1"):
        write(several, tmp_path / "truth" / f"{name}.nii.gz")
        write(mask, tmp_path / "masks" / f"{name}_seg.nii.gz")
    mask[[0, 2]] = 0
    write(mask, tmp_path / "masks" / "1_t1_seg.nii.gz")
    assert evaluate(tmp_path / "truth", tmp_path / "masks") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "masks" / "1_t1_seg.nii.gz") in line
    assert "--slices all" in line
    rows, table = results(tmp_path / "truth")
    assert set(rows["case"]) == {"2_t1"}
    assert (table["pq"] == 1).all()
    assert rows["true_mm3"].gt(0).all()


def test_levels_on_another_grid_and_slices_that_are_not_sagittal_cost_only_the_instances(truth, tmp_path):
    masks = segmented(truth, "_seg")
    write_volume(SPINE.numbers()[None], masks / "1_t1_levels.nii.gz", (9.0, 9.0, 9.0), spacing=MM)
    for folder, array in ((truth, SPINE.numbers()), (masks, SPINE.mask())):
        path = folder / ("2_t1.nii.gz" if folder == truth else "2_t1_seg.nii.gz")
        write_volume(array[None], path, spacing=MM, direction=np.eye(3))
    assert evaluate(truth, masks) == 0
    made = read_evaluation(tmp_path / "out")
    assert set(made.scores["case"]) == {"1_t1", "1_t2", "2_t1"}
    assert set(made.instances["case"]) == {"1_t2"}
    assert set(made.level_scores["case"]) == {"1_t1", "1_t2", "2_t1"}
    assert any(note.startswith("2 cases lack scores") for note in made.notes)


def test_masks_are_numbered_in_every_order_of_axes():
    mask = np.repeat(SPINE.mask()[None], 3, axis=0)
    expected = np.repeat(SPINE.numbers()[None], 3, axis=0)
    original, true = (sitk.GetImageFromArray(array) for array in (mask, expected))
    for image in (original, true):
        image.SetSpacing(MM)
        image.SetDirection((0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    for cosines in ALL_48[::4]:
        code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(np.ravel(cosines).tolist())
        image, numbers = (sitk.DICOMOrient(one, code) for one in (original, true))
        direction = np.reshape(image.GetDirection(), (3, 3))
        image.SetDirection(np.ravel(rotation((4.0, 3.0, -5.0)) @ direction).tolist())
        found = predicted_numbers(Case("", "a", Path("a"), Path("a")), image, STRUCTURES)
        found = np.where((found > 100) & (found < 200), found - 100, found)
        assert np.array_equal(found, sitk.GetArrayFromImage(numbers)), code


def test_synthetic_spines_from_files_to_the_report(tmp_path):
    """Split masks of realistic spines: all instances are found, and all have their number."""
    for patient, series in enumerate(series_of(1, 2, most=1) + series_of(3, 11, most=1), start=1):
        write(series.numbers, tmp_path / "truth" / f"{patient}_t2.mha")
        write(series.mask, tmp_path / "masks" / f"{patient}_t2.nii.gz")
    page = tmp_path / "out.html"
    words = ["report", "-o", str(page), "-s", f"A={tmp_path / 'masks'}"]
    assert main([*words, "--instances", str(tmp_path / "truth"), "--gallery", "0"]) == 0
    rows = read_evaluation(tmp_path / "out_files").instances
    assert (rows["found"] == "both").all()
    assert rows["number_right"].all()
    assert rows["dice"].min() > 0.9
    text = page.read_text()
    assert "Single vertebrae and discs" in text
    assert "Right number" in text


SLICES = ("156_t2_s10", "215_t2_s09", "4_t2_s19")


@pytest.mark.skipif(not (SHARED_DATA / "spider_t2w").is_dir(), reason=f"no spider_t2w in {SHARED_DATA}")
def test_real_labels_that_are_split_again(tmp_path):
    """On slices that show whole vertebrae, nearly every vertebra and disc is found with SPIDER's number."""
    for name in SLICES:
        image = sitk.ReadImage(str(SHARED_DATA / "spider_t2w" / "masks" / f"{name}.mha"))
        mask = sitk.GetImageFromArray(map_labels(sitk.GetArrayViewFromImage(image)))
        mask.CopyInformation(image)
        (tmp_path / "masks").mkdir(exist_ok=True)
        sitk.WriteImage(mask, str(tmp_path / "masks" / f"{name}.nii.gz"))
        (tmp_path / "truth").mkdir(exist_ok=True)
        sitk.WriteImage(image, str(tmp_path / "truth" / f"{name}.mha"))
    assert evaluate(tmp_path / "truth", tmp_path / "masks") == 0
    rows, table = results(tmp_path / "truth")
    assert (rows["found"] == "both").all()
    assert rows["number_right"].all()
    assert table.loc["ivd", "sq"] > 0.99
    assert table["pq"].min() > 0.9
