"""A small real table: killed twice and gone on with, it equals one that ran through. By Snakemake, too."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import DATASET, Workspace

ROOT = Path(__file__).resolve().parents[2]
STOCK, REFINED = "nnUNetTrainerStage1_1epochs_1iters", "nnUNetTrainerSpineSegDiff_1epochs_1iters_width25"
DESCRIPTION = f"""\
title: A small table
configuration: 2d
folds: [0, 1]
contrasts:
  - {{name: T2w, convert: t2, dataset: 0}}
systems:
  - {{name: Refined, trainer: {REFINED}, stage1: Stock, predict: {{refine: true}}}}
"""
SYSTEMS = f"systems:\n  - {{name: Stock, trainer: {STOCK}}}\n"
ENVIRONMENT = {"nnUNet_npp": "1", "nnUNet_nps": "1", "OMP_NUM_THREADS": "1"}
"""Two workers would be three processes that import torch."""


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
        return self.workspace.run(f"spinesegdiff {self.words}", **ENVIRONMENT)

    def finished(self) -> set[str]:
        listed = self.workspace.run(f"spinesegdiff {self.words} --dry_run").splitlines()
        return {line.split()[1] for line in listed if line.startswith("finished")}

    def run_until_killed(self, happened: Callable[[], bool]) -> None:
        """Kill the runner and all that it started as soon as something has happened."""
        process = subprocess.Popen(
            ["spinesegdiff", *self.words.split()],
            env=self.workspace.environment(**ENVIRONMENT),
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

    def log(self, job: str) -> Path:
        return self.out / "logs" / f"{job}.txt"

    def files(self) -> dict[Path, tuple[int, int]]:
        """Checkpoints, masks and summaries, with what changes when a file is written anew."""
        results = self.workspace.root / "results"
        checkpoints = [
            p for name in (STOCK, REFINED) for p in results.glob(f"*/{name}__*/fold_*/*_final.pth")
        ]
        found = [
            *checkpoints,
            *self.out.glob("d*/*/fold_*/part_0_of_1/*.nii.gz"),
            *self.out.glob("d*/*/*/summary.json"),
        ]
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    def masks(self) -> dict[str, bytes]:
        found = sorted(self.out.glob("d*/*/fold_*/part_0_of_1/*.nii.gz"))
        return {str(path.relative_to(self.out)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def killed_twice(planned: Workspace) -> Table:
    """Killed in the second training and in a refined prediction; then run to the end."""
    description = planned.root / "small.yaml"
    description.write_text(DESCRIPTION.replace("systems:\n", SYSTEMS))
    table = Table(planned, description, planned.root / "killed")
    second = f"train-d501-{STOCK}-f1"
    table.run_until_killed(lambda: table.log(second).exists() and "Epoch 0" in table.log(second).read_text())
    assert table.finished() == {f"train-d501-{STOCK}-f0"}

    predicting = "predict-d501-Refined-f1"
    unfinished = table.out / "d501" / "Refined" / "fold_1" / "part_0_of_1.unfinished"
    table.run_until_killed(lambda: any(unfinished.glob("*.nii.gz")))
    before, finished = table.files(), table.finished()
    assert predicting not in finished
    assert "evaluate-d501-Refined-f0" in finished
    assert len(finished) == 10  # four trainings, three predictions and three evaluations
    told = table.run()
    after = table.files()
    assert before.items() <= after.items()
    assert not [name for name in finished if f"] {name}:" in told]
    return table


def test_a_table_that_was_killed_equals_one_that_was_not(killed_twice: Table) -> None:
    through = Table(killed_twice.workspace, killed_twice.description, killed_twice.workspace.root / "through")
    told = through.run()
    assert "4 of 13 jobs are finished already" in told  # the trainings are nnU-Net's own, and shared
    assert len(through.masks()) >= 4
    assert through.masks() == killed_twice.masks()
    for name in ("table.csv", "table.md"):
        assert (through.out / name).read_bytes() == (killed_twice.out / name).read_bytes()
    assert (through.out / "table.md").read_text() in told
    assert len((through.out / "table.csv").read_text().splitlines()) == 3


def test_a_second_run_has_nothing_to_do(killed_twice: Table) -> None:
    before = killed_twice.files()
    assert "13 of 13 jobs are finished already" in killed_twice.run()
    assert killed_twice.files() == before


@pytest.mark.skipif(
    shutil.which("snakemake") is None, reason="snakemake is not installed: the extra `workflow`"
)
def test_snakemake_runs_the_same_table(killed_twice: Table) -> None:
    """In two shares; the trainings are finished, so their jobs end at once."""
    planned = killed_twice.workspace
    out = planned.root / "by_snakemake"
    config = f"description={killed_twice.description} d={DATASET} o={out} device=cpu num_parts=2"
    told = planned.run(
        f"snakemake -s {ROOT / 'workflow' / 'Snakefile'} --cores 2 --config {config}", **ENVIRONMENT
    )
    assert "18 of 18 steps (100%) done" in told
    assert (out / "table.csv").read_bytes() == (killed_twice.out / "table.csv").read_bytes()
    assert len(list(out.glob("d501/Refined/fold_0/part_1_of_2/*.nii.gz"))) >= 1
