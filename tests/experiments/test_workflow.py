"""The Snakemake rules, as far as a dry run goes."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.experiments.plan import Plan

from .test_finished import STOCK, checkpoint, summary, training

SNAKEFILE = Path(__file__).resolve().parents[2] / "workflow" / "Snakefile"


@pytest.mark.skipif(
    importlib.util.find_spec("snakemake") is None, reason="snakemake is not installed: the extra `workflow`"
)
def test_marks_of_jobs_that_are_not_finished_any_more_are_removed(plan: Plan, small: Path) -> None:
    checkpoint(training(plan).folder)
    summary(training(plan).folder)
    marks = plan.out / "snakemake"
    marks.mkdir(parents=True)
    for name in plan.jobs:
        (marks / name).touch()
    config = [f"description={small}", "dataset=501", f"out={plan.out}", "num_parts=2", "device=cpu"]
    words = ["-s", str(SNAKEFILE), "-d", str(small.parent), "--cores", "1", "--dry-run", "--config", *config]
    done = subprocess.run([sys.executable, "-m", "snakemake", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in marks.iterdir()] == [STOCK]
    assert "Nothing to be done" not in done.stdout + done.stderr
