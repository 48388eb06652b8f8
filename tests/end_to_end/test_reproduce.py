"""A small real table: killed twice and gone on with, it equals one that ran through."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from ..helpers.model_commands import DATASET, Workspace

TRAINER = "nnUNetTrainerDiffUNet_1epochs_1iters_width10_n1_S1"
DESCRIPTION = f"""\
title: A small table
configuration: 2d
folds: [0, 1]
contrasts:
  - {{name: T2w, convert: t2, dataset: 0}}
systems:
  - {{name: Two chains, trainer: {TRAINER}, predict: {{num_samples: 2}}}}
  - {{name: Stock prediction, trainer: {TRAINER}}}
"""
pytestmark = pytest.mark.slow

NO_WORKERS = {"nnUNet_npp": "0", "nnUNet_nps": "0", "nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1"}
"""Every worker would be a process that imports torch."""


@dataclass(frozen=True)
class Table:
    """A table in the making.

    Attributes:
        workspace: where.
        description: of it.
        out: its folder.
    """

    workspace: Workspace
    description: Path
    out: Path

    @property
    def words(self) -> str:
        return f"reproduce --description {self.description} -d {DATASET} -o {self.out} -device cpu"

    def run(self) -> str:
        return in_shell(self.workspace, f"spinesegdiff {self.words}")

    def finished(self) -> set[str]:
        listed = self.workspace.shell(f"spinesegdiff {self.words} --dry_run").splitlines()
        return {line.split()[1] for line in listed if line.startswith("finished")}

    def run_until_killed(self, happened: Callable[[], bool]) -> None:
        """Kill the runner and all that it started as soon as something has happened."""
        process = subprocess.Popen(
            ["spinesegdiff", *self.words.split()],
            env=self.workspace.environment(**NO_WORKERS),
            start_new_session=True,
            stdout=subprocess.DEVNULL,
        )
        try:
            deadline = time.monotonic() + 300
            while not happened():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def log_says(self, job: str, text: str) -> bool:
        log = self.out / "logs" / f"{job}.txt"
        return log.is_file() and text in log.read_text()

    def has_first_mask(self, system: str, fold: int) -> bool:
        """Of a prediction that is not finished yet."""
        unfinished = self.out / "d501" / system / f"fold_{fold}" / "part_0_of_1.unfinished"
        return any(unfinished.glob("[!.]*.nii.gz"))

    def files(self) -> dict[Path, tuple[int, int]]:
        """Checkpoints, masks and summaries, with what changes when a file is written anew."""
        patterns = ("part_0_of_1/*.nii.gz", "summary.json")
        found = list(self.workspace.results(TRAINER).glob("fold_*/checkpoint_final.pth"))
        found += [path for pattern in patterns for path in self.out.glob(f"d501/*/fold_*/{pattern}")]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    def masks(self) -> dict[str, bytes]:
        found = sorted(self.out.glob("d*/*/fold_*/part_0_of_1/*.nii.gz"))
        return {str(path.relative_to(self.out)): path.read_bytes() for path in found}


def in_shell(workspace: Workspace, line: str) -> str:
    exports = " ".join(f"{name}={value}" for name, value in NO_WORKERS.items())
    return workspace.shell(f"export {exports} && {line}")


@pytest.fixture(scope="module")
def killed(planned_finely: Workspace) -> Table:
    """Killed in a training, in a prediction of ours and in a stock one; then run to the end."""
    description = planned_finely.root / "small.yaml"
    description.write_text(DESCRIPTION)
    table = Table(planned_finely, description, planned_finely.root / "killed")
    table.run_until_killed(lambda: table.log_says(f"train-d501-{TRAINER}-f1", "Epoch 0"))
    assert table.finished() == {f"train-d501-{TRAINER}-f0"}

    table.run_until_killed(lambda: table.has_first_mask("Two_chains", 1))
    before, finished = table.files(), table.finished()
    assert len(finished) == 4  # two trainings, one prediction and its evaluation

    table.run_until_killed(lambda: table.has_first_mask("Stock_prediction", 1))
    assert before.items() <= table.files().items()
    before, finished = table.files(), table.finished()
    assert len(finished) == 8

    told = table.run()
    assert "8 of 11 jobs are finished already" in told
    assert before.items() <= table.files().items()
    return table


def test_a_table_that_was_killed_equals_one_that_was_not(killed: Table) -> None:
    through = Table(killed.workspace, killed.description, killed.workspace.root / "through")
    told = through.run()
    assert "2 of 11 jobs are finished already" in told  # the trainings are nnU-Net's, and shared
    assert len(through.masks()) >= 4
    assert through.masks() == killed.masks()
    for name in ("table.csv", "table.md"):
        assert (through.out / name).read_bytes() == (killed.out / name).read_bytes()
    assert (through.out / "table.md").read_text() in told
    assert len((through.out / "table.csv").read_text().splitlines()) == 3


def test_the_finished_table_can_be_evaluated(killed: Table) -> None:
    """Its Dice is nnU-Net's, and its geometry and distances come along."""
    told = killed.workspace.shell(
        f"spinesegdiff evaluate --reproduced {killed.out} -o {killed.out}/evaluation"
    )
    table = (killed.out / "table.md").read_text().splitlines()
    assert table[:6] == told.splitlines()[:6]
    scores = pd.read_csv(killed.out / "evaluation" / "scores.csv", dtype={"fold": str})
    assert set(scores["fold"]) == {"0", "1"}
    assert scores["assd_mm"].notna().any()
    systems = json.loads((killed.out / "evaluation" / "evaluation.json").read_text())["systems"]
    assert [system["settings"] is None for system in systems].count(False) == 1
    # The predictions that were killed and gone on with have no time of their own.
    assert [system["seconds_a_case"] for system in systems].count(None) >= 1


def test_our_prediction_went_on_where_it_was_killed(killed: Table) -> None:
    log = (killed.out / "logs" / "predict-d501-Two_chains-f1.txt").read_text()
    assert re.findall(r"(\d) of 2 cases are finished already", log) in (["0", "1"], ["0", "2"])


def test_a_second_run_has_nothing_to_do(killed: Table) -> None:
    before = killed.files()
    assert "11 of 11 jobs are finished already" in killed.run()
    assert killed.files() == before
