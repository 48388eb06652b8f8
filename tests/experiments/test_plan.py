"""Descriptions become jobs, and a dry run lists them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.experiments.plan import Plan
from nnunetv2_spinesegdiff.experiments.training import Training

from .conftest import SMALL


def kinds(plan: Plan) -> dict[str, int]:
    return dict(Counter(job.kind for job in plan.jobs.values()))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, no_folders):
    monkeypatch.chdir(tmp_path)


def test_table_1_is_five_systems_on_three_contrasts_in_five_folds():
    plan = Plan(1, [501])
    assert kinds(plan) == {"train": 75, "predict": 75, "evaluate": 75, "collect": 1}
    trainings = [job for job in plan.jobs.values() if isinstance(job, Training)]
    assert {job.model.dataset for job in trainings} == {501, 502, 503}
    assert len({job.model.trainer for job in trainings}) == 5
    assert {job.fold for job in trainings} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("table", [1, 2, 5])
def test_every_job_comes_after_what_it_needs_and_the_last_needs_all(table):
    plan = Plan(table, [501], num_parts=3)
    names = list(plan.jobs)
    for name, job in plan.jobs.items():
        assert all(names.index(need) < names.index(name) for need in job.needs)
    reached, left = set(), ["collect"]
    while left:
        name = left.pop()
        reached.add(name)
        left += plan.jobs[name].needs
    assert reached == set(names)


def test_shares_of_a_prediction_are_jobs():
    plan = Plan(1, [501], num_parts=4)
    assert kinds(plan) == {"train": 75, "predict": 300, "evaluate": 75, "collect": 1}
    evaluation = plan.jobs["evaluate-d501-IISDM-f2"]
    assert evaluation.needs == tuple(f"predict-d501-IISDM-f2-part{part}of4" for part in range(4))
    command = " ".join(plan.jobs["predict-d501-IISDM-f2-part3of4"].command())
    assert "-num_parts 4 -part_id 3 --continue_prediction" in command
    assert "--num_samples 5 --ddim_steps 100" in command


def test_table_2_waits_for_stage_1_and_its_presegmentations():
    plan = Plan(2, [503])
    assert kinds(plan) == {"train": 50, "presegment": 1, "predict": 50, "evaluate": 50, "collect": 1}
    stage1 = "nnUNetTrainerStage1_250epochs"
    collecting = plan.jobs[f"presegment-d503-{stage1}"]
    assert collecting.needs == tuple(f"train-d503-{stage1}-f{fold}" for fold in range(5))
    assert collecting.command() == f"spinesegdiff presegment -d 503 -c 2d -tr {stage1}".split()
    for reading in ("T100", "N100"):
        refiner = plan.jobs[f"train-d503-nnUNetTrainerSpineSegDiffFromScratch_2500epochs_{reading}-f3"]
        assert refiner.needs == (f"train-d503-{stage1}-f3", collecting.name)
        assert refiner.variables() == {"spinesegdiff_stage1": stage1}
    assert plan.jobs[f"train-d503-{stage1}-f3"].command()[-1] == "--npz"
    assert "--npz" not in refiner.command()


def test_systems_that_differ_only_in_prediction_share_their_trainings(small):
    line = "  - {name: Fast, trainer: nnUNetTrainerSpineSegDiff_1epochs, predict: {preset: fast}}\n"
    small.write_text(SMALL + line)
    plan = Plan(small, [501])
    assert kinds(plan) == {"train": 4, "predict": 6, "evaluate": 6, "collect": 1}
    one, other = (plan.jobs[f"predict-d501-{slug}-f0"] for slug in ("Refined_T_30", "Fast"))
    assert one.needs == other.needs


def test_commands_name_other_plans_and_only_ours_continue(small):
    small.write_text("plans: nnUNetResEncUNetMPlans\n" + SMALL)
    for name, job in Plan(small, [501]).jobs.items():
        words = " ".join(job.command())
        assert ("-p nnUNetResEncUNetMPlans" in words) == name.startswith(("train", "predict"))
        assert ("--continue_prediction" in words) == name.startswith("predict-d501-Refined")


def test_a_refiner_without_stage_1_is_trained_jointly_whatever_is_on_disk(small):
    plan = Plan(small, [501])
    refiner = plan.jobs["train-d501-nnUNetTrainerSpineSegDiff_1epochs-f0"]
    assert refiner.variables() == {"spinesegdiff_stage1": "joint"}
    assert plan.jobs["train-d501-nnUNetTrainerStage1_1epochs-f0"].variables() == {}
    small.write_text(SMALL.replace("SpineSegDiff_", "SpineSegDiffNoIE_").replace("refine: true, ", ""))
    assert not any(job.variables() for job in Plan(small, [501]).jobs.values())


def test_a_dry_run_needs_nothing_and_lists_every_job_with_its_command(capsys, tmp_path):
    assert main(["reproduce", "--table", "1", "-d", "501", "--dry_run"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == "226 jobs (75 train, 75 predict, 75 evaluate, 1 collect), 0 finished"
    assert len(lines) == 226
    trainer = "nnUNetTrainerDiffUNet_2500epochs"
    folder = Path("table1", "d502", "Diff_UNet_2D", "fold_4")
    assert {
        f"to do     train-d502-{trainer}-f4  nnUNetv2_train 502 2d 4 -tr {trainer} -device cuda",
        f"to do     predict-d502-Diff_UNet_2D-f4  nnUNetv2_predict -i {folder}/images "
        f"-o {folder}/part_0_of_1.unfinished -d 502 -c 2d -tr {trainer} -f 4 -device cuda "
        "--num_samples 4 --ddim_steps 10 --fusion_steps 10 --continue_prediction",
    } <= set(lines)
    assert not list(tmp_path.iterdir())
    assert main(["reproduce", "--table", "2", "-d", "503", "--dry_run"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if "_T500-f0  " in line)
    assert "  spinesegdiff_stage1=nnUNetTrainerStage1_250epochs nnUNetv2_train 503 2d 0 -tr" in line


def test_a_dry_run_does_not_wait_for_torch():
    code = (
        "import sys; from nnunetv2_spinesegdiff.cli import main; "
        "main(['reproduce', '--table', '1', '-d', '501', '--dry_run']); "
        "print({'torch', 'nnunetv2', 'pandas', 'SimpleITK'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_a_missing_dataset_is_one_line_with_the_commands(dataset, small, capsys):
    def error(*words: str) -> str:
        assert main(["reproduce", *words, "-device", "cpu"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    message = error("--table", "5", "-d", "502")
    assert "dataset 502 (T1w): " in message
    assert "`spinesegdiff convert -i SPIDER -d 502 --contrast t1 --dim 3d`" in message
    assert "`nnUNetv2_plan_and_preprocess -d 502 -c 3d_fullres`" in message
    (dataset / "preprocessed" / "Dataset501_Spine" / "nnUNetPlans_2d").rmdir()
    message = error("--description", str(small), "-d", "501")
    assert "nnUNetPlans_2d: " in message
    assert "`nnUNetv2_plan_and_preprocess -d 501 -c 2d`" in message
    assert "convert" not in message
    (dataset / "raw" / "Dataset501_Other").mkdir()
    assert "Dataset501_Other and Dataset501_Spine" in error("--description", str(small), "-d", "501")


def test_output_folder_and_unknown_tables(tmp_path):
    assert Plan(5, [501]).out == tmp_path / "table5"
    assert Plan(5, [501], Path("else")).out == tmp_path / "else"
    with pytest.raises(UserError, match=r"table 3: .*1, 2, 5"):
        Plan(3, [501])
