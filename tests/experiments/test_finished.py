"""What counts as finished, and where a job goes on that was stopped."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.experiments.jobs import Prediction, Presegmenting, link_all, read_json
from nnunetv2_spinesegdiff.experiments.plan import Choices, Plan
from nnunetv2_spinesegdiff.experiments.training import Training

from .conftest import PRESEGMENTED, SMALL

STOCK = "train-d501-nnUNetTrainerStage1_1epochs-f0"
REFINED = "train-d501-nnUNetTrainerSpineSegDiff_1epochs-f0"


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


def training(plan: Plan, name: str = STOCK) -> Training:
    job = plan.jobs[name]
    assert isinstance(job, Training)
    return job


def prediction(plan: Plan, name: str) -> Prediction:
    job = plan.jobs[name]
    assert isinstance(job, Prediction)
    return job


# --- training --------------------------------------------------------------------------------------------


def test_a_training_is_finished_with_checkpoint_and_validation(plan):
    job = training(plan)
    assert plan.result(STOCK) is None
    final = checkpoint(job.folder)
    assert plan.result(STOCK) is None
    validated = summary(job.folder)
    assert plan.result(STOCK) is not None

    whole = validated.read_text()
    validated.write_text(whole[:-5])
    assert plan.result(STOCK) is None
    validated.write_text(whole)
    assert plan.result(STOCK) is not None

    final.write_bytes(final.read_bytes()[:-10])
    assert plan.result(STOCK) is None


def test_a_validation_of_an_earlier_checkpoint_does_not_count(plan):
    job = training(plan)
    validated, final = summary(job.folder), checkpoint(job.folder)
    os.utime(validated, ns=(0, final.stat().st_mtime_ns - 1))
    assert plan.result(STOCK) is None
    assert job.flags_to_continue() == ["--val"]


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_probabilities_that_are_wanted_must_be_there(dataset, small, ending):
    small.write_text(PRESEGMENTED)
    plan = Plan(Choices(small, [501]))
    job = training(plan)
    checkpoint(job.folder)
    validated = summary(job.folder, "a", "b", "sub-1.2_t1", ending=ending)
    for case in "ab":
        (validated.parent / f"{case}.npz").touch()
    (validated.parent / "sub-1.npz").touch()
    assert plan.result(STOCK) is None
    (validated.parent / "sub-1.2_t1.npz").touch()
    assert plan.result(STOCK) is not None


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ([], []),
        (["checkpoint_best.pth"], ["--c"]),
        (["checkpoint_latest.pth", "checkpoint_best.pth"], ["--c"]),
        (["checkpoint_final.pth", "checkpoint_best.pth"], ["--val"]),
    ],
    ids=str,
)
def test_a_training_goes_on_from_what_is_there(plan, there, words):
    job = training(plan)
    for name in there:
        checkpoint(job.folder, name)
    assert job.flags_to_continue() == words


def test_a_truncated_checkpoint_is_taken_out_of_nnunets_way(plan):
    """It loads the final one first, then the latest, and fails for ever on one that is damaged."""
    job = training(plan)
    latest, final = checkpoint(job.folder, "checkpoint_latest.pth"), checkpoint(job.folder)
    final.write_bytes(final.read_bytes()[:-10])
    assert job.flags_to_continue() == ["--c"]
    assert not final.exists()
    assert latest.exists()
    latest.write_bytes(b"")
    assert job.flags_to_continue() == []


# --- refiners --------------------------------------------------------------------------------------------


@pytest.fixture
def two_stages(small: Path, dataset: Path) -> Plan:
    """Whose stage 1 is trained."""
    small.write_text(SMALL + "    stage1: Stock\n")
    plan = Plan(Choices(small, [501], dataset / "out"))
    checkpoint(training(plan).folder)
    summary(training(plan).folder)
    os.utime(training(plan).folder / "checkpoint_final.pth", ns=(0, 10**18))
    return plan


def refined(folder: Path, frozen: bool = True) -> None:
    """What nnU-Net leaves of a refiner."""
    checkpoint(folder)
    summary(folder)
    (folder / "refinement.json").write_text(json.dumps({"stage1_frozen": frozen}))


def train(plan: Plan, frozen: bool = True, killed: bool = False) -> list[list[str]]:
    """Run the refiner's job; gives its commands."""
    commands: list[list[str]] = []
    job = training(plan, REFINED)

    def shell(words: Sequence[str], variables: Mapping[str, str]) -> None:
        commands.append(list(words))
        if killed:
            checkpoint(job.folder, "checkpoint_latest.pth")
            raise KeyboardInterrupt
        refined(job.folder, frozen)

    job.run({need: plan.result(need) or "" for need in job.needs}, shell)
    return commands


def stage1_again(plan: Plan) -> None:
    """Trained again, with the same date as far as a refiner's is concerned."""
    os.utime(training(plan).folder / "checkpoint_final.pth", ns=(0, 10**18 + 1))


def refused(plan: Plan, how: str) -> None:
    """Neither counts nor is touched."""
    assert plan.result(REFINED) is None
    before = (training(plan, REFINED).folder / "checkpoint_final.pth").stat()
    with pytest.raises(UserError, match=f"fold_0: was trained {how}.*move this folder away") as error:
        train(plan)
    assert len(str(error.value).splitlines()) == 1
    assert (training(plan, REFINED).folder / "checkpoint_final.pth").stat() == before


def test_a_refiner_counts_for_the_stage_1_that_it_was_trained_on(two_stages):
    train(two_stages)
    assert two_stages.result(REFINED) is not None
    stage1_again(two_stages)
    refused(two_stages, "from another stage 1")


def test_a_refiner_trained_by_hand_counts_if_frozen_and_newer_than_its_stage_1(two_stages):
    folder = training(two_stages, REFINED).folder
    refined(folder)
    assert two_stages.result(REFINED) is not None
    os.utime(folder / "checkpoint_final.pth", ns=(0, 10**18 - 1))
    refused(two_stages, "before its stage 1 was")


def test_a_refiner_trained_jointly_does_not_count(two_stages):
    refined(training(two_stages, REFINED).folder, frozen=False)
    refused(two_stages, "jointly with a stage 1 of its own")


def test_a_refiner_trained_by_hand_after_the_record_is_judged_by_itself(two_stages):
    train(two_stages)
    refined(training(two_stages, REFINED).folder, frozen=False)
    refused(two_stages, "jointly with a stage 1 of its own")


def test_a_refiner_without_its_report_is_validated_again(two_stages):
    folder = training(two_stages, REFINED).folder
    refined(folder)
    (folder / "refinement.json").unlink()
    assert two_stages.result(REFINED) is None
    assert train(two_stages)[0][-1] == "--val"
    assert two_stages.result(REFINED) is not None


def test_a_refiner_that_was_begun_goes_on_only_with_the_same_stage_1(two_stages):
    with pytest.raises(KeyboardInterrupt):
        train(two_stages, killed=True)
    with pytest.raises(KeyboardInterrupt):
        train(two_stages, killed=True)
    stage1_again(two_stages)
    with pytest.raises(UserError, match="was trained from another stage 1"):
        train(two_stages)
    os.utime(training(two_stages).folder / "checkpoint_final.pth", ns=(0, 10**18))
    assert train(two_stages)[0][-1] == "--c"
    assert two_stages.result(REFINED) is not None


def test_a_refiner_trained_before_presegmentations_were_collected_does_not_count(two_stages, small):
    train(two_stages)
    small.write_text(PRESEGMENTED)
    plan = Plan(Choices(small, [501], two_stages.out))
    refused_with_all = {need: f"result of {need}" for need in training(plan, REFINED).needs}
    assert len(refused_with_all) == 2
    assert training(plan, REFINED).result(refused_with_all) is None


def test_presegmentations_count_by_their_content(small, dataset):
    """A refiner trained on them counts in an experiment of another output folder, too."""
    small.write_text(PRESEGMENTED)
    results = []
    for out in ("one", "other"):
        plan = Plan(Choices(small, [501], dataset / out))
        job = plan.jobs["presegment-d501-nnUNetTrainerStage1_1epochs"]
        assert isinstance(job, Presegmenting)
        manifest = job.manifest
        assert manifest is not None
        needed = {need: "trained" for need in job.needs}

        def shell(words: Sequence[str], variables: Mapping[str, str], manifest: Path = manifest) -> None:
            manifest.parent.mkdir(parents=True, exist_ok=True)
            manifest.write_text("what it was made from")

        assert job.result(needed) is None
        job.run(needed, shell)
        results.append(job.result(needed))
        manifest.write_text("something else")
        assert job.result(needed) not in (None, results[0])
        manifest.unlink()
        assert job.result(needed) is None
    assert results[0] == results[1]


def test_a_training_without_stage_1_counts_as_it_is(plan):
    checkpoint(training(plan, REFINED).folder)
    summary(training(plan, REFINED).folder)
    assert plan.result(REFINED) is not None


# --- records ---------------------------------------------------------------------------------------------

FIRST = "predict-d501-Refined_T_30-f0-part0of2"
SECOND = "predict-d501-Refined_T_30-f0-part1of2"
STOCK_PREDICTION = "predict-d501-Stock-f0-part0of2"


class Shell:
    """Takes the place of commands: writes masks of these cases, then ends well or is killed."""

    def __init__(self, cases: str, killed: bool = False):
        self.cases, self.killed = cases, killed
        self.commands: list[list[str]] = []
        self.found: list[str] = []

    def __call__(self, words: Sequence[str], variables: Mapping[str, str]) -> None:
        self.commands.append(list(words))
        output = Path(words[words.index("-o") + 1])
        self.found = sorted(path.name for path in output.iterdir())
        for case in self.cases:
            (output / f"{case}.nii.gz").write_text("a mask")
        if self.killed:
            raise KeyboardInterrupt


def trained(plan: Plan) -> None:
    for name in (STOCK, REFINED):
        checkpoint(training(plan, name).folder)
        summary(training(plan, name).folder)


def run(plan: Plan, name: str, shell: Shell) -> None:
    needed = {need: plan.result(need) or "" for need in plan.jobs[name].needs}
    plan.jobs[name].run(needed, shell)


def test_masks_have_their_name_only_when_all_are_there(plan):
    trained(plan)
    job = prediction(plan, FIRST)
    with pytest.raises(KeyboardInterrupt):
        run(plan, FIRST, Shell("a", killed=True))
    assert not job.masks.exists()
    assert plan.result(FIRST) is None
    with pytest.raises(UserError, match="no mask of c"):
        run(plan, FIRST, Shell("a"))
    assert not job.masks.exists()
    run(plan, FIRST, Shell("ac"))
    assert sorted(path.name for path in job.masks.iterdir()) == ["a.nii.gz", "c.nii.gz"]
    assert plan.result(FIRST) is not None
    assert {path.name: path.read_text() for path in job.images.iterdir()} == {
        f"{case}_0000.nii.gz": f"image of {case}" for case in "abc"
    }


def test_ours_finds_the_masks_of_its_last_attempt_and_stock_begins_anew(plan):
    trained(plan)
    for name, kept in ((FIRST, ["a.nii.gz"]), (STOCK_PREDICTION, [])):
        with pytest.raises(KeyboardInterrupt):
            run(plan, name, Shell("a", killed=True))
        shell = Shell("ac")
        run(plan, name, shell)
        assert shell.found == kept


def test_masks_of_another_training_are_not_gone_on_with(plan):
    trained(plan)
    with pytest.raises(KeyboardInterrupt):
        run(plan, FIRST, Shell("a", killed=True))
    os.utime(training(plan, REFINED).folder / "checkpoint_final.pth", ns=(5, 5))
    shell = Shell("ac")
    run(plan, FIRST, shell)
    assert shell.found == []


def test_seconds_are_recorded_of_a_prediction_done_in_one_go(plan):
    trained(plan)
    run(plan, FIRST, Shell("ac"))
    record = read_json(prediction(plan, FIRST).record_file)
    assert record["cases"] == 2
    assert 0 < record["seconds"] < 60
    os.utime(training(plan, REFINED).folder / "checkpoint_final.pth", ns=(5, 5))
    with pytest.raises(KeyboardInterrupt):
        run(plan, FIRST, Shell("a", killed=True))
    run(plan, FIRST, Shell("c"))
    assert read_json(prediction(plan, FIRST).record_file)["seconds"] is None


def test_a_prediction_is_out_of_date_when_its_fold_was_trained_again(plan):
    trained(plan)
    run(plan, FIRST, Shell("ac"))
    assert plan.result(FIRST) is not None
    os.utime(training(plan, REFINED).folder / "checkpoint_final.pth", ns=(5, 5))
    assert plan.result(FIRST) is None


def test_a_prediction_is_out_of_date_when_its_flags_change(plan, small):
    trained(plan)
    run(plan, FIRST, Shell("ac"))
    small.write_text(small.read_text().replace("num_samples: 3", "num_samples: 4"))
    assert Plan(Choices(small, [501], plan.out, 2, "cpu")).result(FIRST) is None
    small.write_text(small.read_text().replace("num_samples: 4", "num_samples: 3"))
    assert Plan(Choices(small, [501], plan.out, 2, "cuda")).result(FIRST) is not None


def test_a_result_that_was_removed_is_made_again(plan):
    trained(plan)
    run(plan, FIRST, Shell("ac"))
    for mask in prediction(plan, FIRST).masks.iterdir():
        mask.unlink()
    prediction(plan, FIRST).masks.rmdir()
    assert plan.result(FIRST) is None


def test_a_share_without_cases_starts_nothing(plan):
    trained(plan)
    for name in (STOCK, REFINED):
        other = name.replace("-f0", "-f1")
        checkpoint(training(plan, other).folder)
        summary(training(plan, other).folder)
    second = SECOND.replace("-f0", "-f1")  # fold 1 has one case
    shell = Shell("")
    run(plan, second, shell)
    assert shell.commands == []
    assert plan.result(second) is not None


def test_links_are_made_anew_and_others_go(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("1")
    second.write_text("2")
    link_all(tmp_path / "links", {"a": first, "b": first})
    link_all(tmp_path / "links", {"a": second})
    assert {path.name: path.read_text() for path in (tmp_path / "links").iterdir()} == {"a": "2"}


def test_the_masks_of_all_shares_are_evaluated(plan):
    """And again, when one of them was predicted again."""
    trained(plan)
    run(plan, FIRST, Shell("ac"))
    run(plan, SECOND, Shell("b"))
    found: dict[str, dict[str, str]] = {}

    def shell(words: Sequence[str], variables: Mapping[str, str]) -> None:
        for folder in map(Path, words[1:3]):
            found[folder.name] = {path.name: path.read_text() for path in folder.iterdir()}
        Path(words[words.index("-o") + 1]).write_text("a summary")

    name = "evaluate-d501-Refined_T_30-f0"
    evaluation = plan.jobs[name]
    evaluation.run({need: plan.result(need) or "" for need in evaluation.needs}, shell)
    assert found["masks"] == {f"{case}.nii.gz": "a mask" for case in "abc"}
    assert found["labels"] == {f"{case}.nii.gz": f"label of {case}" for case in "abc"}
    assert plan.result(name) is not None
    run(plan, SECOND, Shell("b"))
    assert plan.result(name) is None
