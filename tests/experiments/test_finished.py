"""What counts as finished, and where an interrupted job continues."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.experiments.jobs import link_all
from nnunetv2_spinesegdiff.experiments.plan import Plan
from nnunetv2_spinesegdiff.files import load_json

from .conftest import PRESEGMENTED, SMALL

STOCK = "train-d501-nnUNetTrainerStage1_1epochs-f0"
REFINED = "train-d501-nnUNetTrainerSpineSegDiff_1epochs-f0"


def job(plan: Plan, name: str = STOCK) -> Any:
    return plan.jobs[name]


def checkpoint(folder: Path, name: str = "checkpoint_final.pth") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("data", "weights" * 100)
    return folder / name


def summary(folder: Path, *names: str, ending: str = ".nii.gz") -> Path:
    file = folder / "validation" / "summary.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    cases = [{"prediction_file": f"/somewhere/{case}{ending}"} for case in names or "abc"]
    file.write_text(json.dumps({"metric_per_case": cases}))
    return file


def trained(plan: Plan, *names: str) -> None:
    for name in names or (STOCK, REFINED):
        checkpoint(job(plan, name).folder)
        summary(job(plan, name).folder)


def trained_again(plan: Plan, name: str) -> None:
    os.utime(job(plan, name).folder / "checkpoint_final.pth", ns=(5, 5))


def needed(plan: Plan, name: str) -> dict[str, str]:
    return {need: result or "" for need, result in plan.results_of_needs(name).items()}


# --- training --------------------------------------------------------------------------------------------


def test_a_training_is_finished_with_checkpoint_and_validation(plan):
    assert plan.result(STOCK) is None
    final = checkpoint(job(plan).folder)
    assert plan.result(STOCK) is None
    validated = summary(job(plan).folder)
    assert plan.result(STOCK) is not None
    for file in (validated, final):
        whole, time = file.read_bytes(), file.stat().st_mtime_ns
        file.write_bytes(whole[:-10])
        assert plan.result(STOCK) is None
        file.write_bytes(whole)
        os.utime(file, ns=(time, time))
        assert plan.result(STOCK) is not None
    os.utime(validated, ns=(0, final.stat().st_mtime_ns - 1))  # of an earlier checkpoint
    assert plan.result(STOCK) is None
    assert job(plan).flags_to_continue() == ["--val"]
    assert plan.unfinished() == list(plan.jobs)
    trained(plan, REFINED)  # without a stage 1 of its own
    assert plan.unfinished() == [name for name in plan.jobs if name != REFINED]


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_probabilities_that_are_needed_must_exist(dataset, small, ending):
    small.write_text(PRESEGMENTED)
    plan = Plan(small, [501])
    checkpoint(job(plan).folder)
    validated = summary(job(plan).folder, "a", "b", "sub-1.2_t1", ending=ending)
    for case in ("a", "b", "sub-1"):
        (validated.parent / f"{case}.npz").touch()
    assert plan.result(STOCK) is None
    (validated.parent / "sub-1.2_t1.npz").touch()
    assert plan.result(STOCK) is not None


@pytest.mark.parametrize(
    ("whole", "truncated", "words"),
    [
        ([], [], []),
        (["best"], [], ["--c"]),
        (["latest", "best"], [], ["--c"]),
        (["final", "best"], [], ["--val"]),
        (["latest"], ["final"], ["--c"]),
        ([], ["latest", "final"], []),
    ],
)
def test_a_training_continues_from_checkpoints_that_are_whole(plan, whole, truncated, words):
    """nnU-Net would load the final one first, then the latest, and always fail on one that is damaged."""
    for name in (*whole, *truncated):
        file = checkpoint(job(plan).folder, f"checkpoint_{name}.pth")
        if name in truncated:
            file.write_bytes(file.read_bytes()[:-10])
    assert job(plan).flags_to_continue() == words
    left = {path.name for path in job(plan).folder.glob("*.pth")}
    assert left == {f"checkpoint_{name}.pth" for name in whole}


# --- refiners --------------------------------------------------------------------------------------------


@pytest.fixture
def two_stages(small: Path, dataset: Path) -> Plan:
    """With a trained stage 1."""
    small.write_text(SMALL + "    stage1: Stock\n")
    plan = Plan(small, [501], dataset / "out")
    trained(plan, STOCK)
    stage1_of(plan, 10**18)
    return plan


def stage1_of(plan: Plan, time: int) -> None:
    """Let stage 1 be trained at a time long ago."""
    os.utime(job(plan).folder / "checkpoint_final.pth", ns=(0, time))


def refine_by_hand(plan: Plan, frozen: bool = True) -> Path:
    """What nnU-Net leaves of a refiner."""
    trained(plan, REFINED)
    folder = job(plan, REFINED).folder
    (folder / "refinement.json").write_text(json.dumps({"stage1_frozen": frozen}))
    return folder


def refine(plan: Plan, killed: bool = False) -> list[list[str]]:
    """Run the refiner's job; returns its commands."""
    commands: list[list[str]] = []

    def shell(words: Sequence[str], variables: Mapping[str, str]) -> None:
        commands.append(list(words))
        if killed:
            checkpoint(job(plan, REFINED).folder, "checkpoint_latest.pth")
            raise KeyboardInterrupt
        refine_by_hand(plan)

    job(plan, REFINED).run(needed(plan, REFINED), shell)
    return commands


def of_another_stage1(plan: Plan) -> None:
    refine(plan)
    assert plan.result(REFINED) is not None
    stage1_of(plan, 10**18 + 1)


def older_than_its_stage1(plan: Plan) -> None:
    folder = refine_by_hand(plan)
    assert plan.result(REFINED) is not None
    os.utime(folder / "checkpoint_final.pth", ns=(0, 10**18 - 1))


def trained_jointly(plan: Plan) -> None:
    refine_by_hand(plan, frozen=False)


def trained_by_hand_after_its_record(plan: Plan) -> None:
    refine(plan)
    refine_by_hand(plan, frozen=False)


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (of_another_stage1, "another stage 1"),
        (older_than_its_stage1, "before its stage 1"),
        (trained_jointly, "jointly"),
        (trained_by_hand_after_its_record, "jointly"),
    ],
)
def test_a_refiner_of_another_stage_1_neither_counts_nor_is_touched(two_stages, make, how):
    make(two_stages)
    folder = job(two_stages, REFINED).folder
    assert two_stages.result(REFINED) is None
    before = (folder / "checkpoint_final.pth").stat()
    with pytest.raises(UserError, match=rf"{folder}: .*{how}.*move") as error:
        refine(two_stages)
    assert len(str(error.value).splitlines()) == 1
    assert (folder / "checkpoint_final.pth").stat() == before


def test_a_refiner_without_its_report_is_validated_again(two_stages):
    (refine_by_hand(two_stages) / "refinement.json").unlink()
    assert two_stages.result(REFINED) is None
    assert refine(two_stages)[0][-1] == "--val"
    assert two_stages.result(REFINED) is not None


def test_an_interrupted_refiner_continues_only_with_the_same_stage_1(two_stages):
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            refine(two_stages, killed=True)
    stage1_of(two_stages, 10**18 + 1)
    with pytest.raises(UserError, match="another stage 1"):
        refine(two_stages)
    stage1_of(two_stages, 10**18)
    assert refine(two_stages)[0][-1] == "--c"
    assert two_stages.result(REFINED) is not None


def test_a_refiner_trained_before_presegmentations_were_collected_does_not_count(two_stages, small):
    refine(two_stages)
    small.write_text(PRESEGMENTED)
    plan = Plan(small, [501], two_stages.out)
    results = {need: f"result of {need}" for need in job(plan, REFINED).needs}
    assert len(results) == 2
    assert job(plan, REFINED).result(results) is None


def test_presegmentations_count_by_their_content(small, dataset):
    """A refiner trained on them counts in an experiment of another output folder, too."""
    small.write_text(PRESEGMENTED)
    results = []
    for out in ("one", "other"):
        collecting = job(Plan(small, [501], dataset / out), "presegment-d501-nnUNetTrainerStage1_1epochs")
        manifest = collecting.manifest
        finished = {need: "trained" for need in collecting.needs}

        def shell(words: Sequence[str], variables: Mapping[str, str], manifest: Path = manifest) -> None:
            manifest.parent.mkdir(parents=True, exist_ok=True)
            manifest.write_text("what it was made from")

        assert collecting.result(finished) is None
        collecting.run(finished, shell)
        results.append(collecting.result(finished))
        manifest.write_text("something else")
        assert collecting.result(finished) not in (None, results[0])
        manifest.unlink()
        assert collecting.result(finished) is None
    assert results[0] == results[1]


# --- predictions and evaluations -------------------------------------------------------------------------

FIRST = "predict-d501-Refined_T_30-f0-part0of2"
SECOND = "predict-d501-Refined_T_30-f0-part1of2"


def predict(plan: Plan, cases: str, killed: bool = False, name: str = FIRST) -> list[str] | None:
    """Run a prediction that writes masks of these cases; returns those that it found, None if not started."""
    found = None

    def shell(words: Sequence[str], variables: Mapping[str, str]) -> None:
        nonlocal found
        output = Path(words[words.index("-o") + 1])
        found = sorted(path.name for path in output.iterdir())
        for case in cases:
            (output / f"{case}.nii.gz").write_text("a mask")
        if killed:
            raise KeyboardInterrupt

    try:
        job(plan, name).run(needed(plan, name), shell)
    except KeyboardInterrupt:
        assert killed
    return found


def test_masks_get_their_name_only_when_all_exist(plan):
    trained(plan)
    prediction = job(plan, FIRST)
    predict(plan, "a", killed=True)
    assert not prediction.masks.exists()
    with pytest.raises(UserError, match="no mask of c"):
        predict(plan, "a")
    assert not prediction.masks.exists()
    assert plan.result(FIRST) is None
    predict(plan, "ac")
    assert sorted(path.name for path in prediction.masks.iterdir()) == ["a.nii.gz", "c.nii.gz"]
    assert plan.result(FIRST) is not None
    images = {f"{case}_0000.nii.gz": f"image of {case}" for case in "abc"}
    assert {path.name: path.read_text() for path in prediction.images.iterdir()} == images
    shutil.rmtree(prediction.masks)
    assert plan.result(FIRST) is None


def test_only_our_predictions_of_the_same_training_continue(plan):
    trained(plan)
    for name, again, found in (
        (FIRST, False, ["a.nii.gz"]),
        ("predict-d501-Stock-f0-part0of2", False, []),
        (FIRST, True, []),
    ):
        predict(plan, "a", killed=True, name=name)
        if again:
            trained_again(plan, REFINED)
        assert predict(plan, "ac", name=name) == found


def test_a_prediction_is_out_of_date_when_its_training_or_flags_change(plan, small):
    """Its time is recorded if it was not interrupted."""
    trained(plan)
    predict(plan, "ac")
    record = load_json(job(plan, FIRST).record_file)
    assert record["cases"] == 2
    assert 0 < record["seconds"] < 60
    text = small.read_text()
    small.write_text(text.replace("num_samples: 3", "num_samples: 4"))
    assert Plan(small, [501], plan.out, 2, "cpu").result(FIRST) is None
    small.write_text(text)
    assert Plan(small, [501], plan.out, 2, "cuda").result(FIRST) is not None
    trained_again(plan, REFINED)
    assert plan.result(FIRST) is None
    predict(plan, "a", killed=True)
    predict(plan, "c")
    assert load_json(job(plan, FIRST).record_file)["seconds"] is None


def test_a_share_without_cases_starts_nothing(plan):
    second = SECOND.replace("-f0", "-f1")  # fold 1 has one case
    trained(plan, *job(plan, second).needs)
    assert predict(plan, "", name=second) is None
    assert plan.result(second) is not None


def test_links_are_renewed_and_others_deleted(tmp_path):
    for name in "12":
        (tmp_path / name).write_text(name)
    link_all(tmp_path / "links", {"a": tmp_path / "1", "b": tmp_path / "1"})
    link_all(tmp_path / "links", {"a": tmp_path / "2"})
    assert {path.name: path.read_text() for path in (tmp_path / "links").iterdir()} == {"a": "2"}


def test_the_masks_of_all_shares_are_evaluated_and_again_when_one_changes(plan):
    trained(plan)
    predict(plan, "ac")
    predict(plan, "b", name=SECOND)
    found: dict[str, dict[str, str]] = {}

    def shell(words: Sequence[str], variables: Mapping[str, str]) -> None:
        for folder in map(Path, words[1:3]):
            found[folder.name] = {path.name: path.read_text() for path in folder.iterdir()}
        Path(words[words.index("-o") + 1]).write_text("a summary")

    name = "evaluate-d501-Refined_T_30-f0"
    job(plan, name).run(needed(plan, name), shell)
    assert found["masks"] == {f"{case}.nii.gz": "a mask" for case in "abc"}
    assert found["labels"] == {f"{case}.nii.gz": f"label of {case}" for case in "abc"}
    assert plan.result(name) is not None
    predict(plan, "b", name=SECOND)
    assert plan.result(name) is None
