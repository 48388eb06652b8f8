"""The recipe of the bundled model, from SPIDER-layout folders to a zip, on five patients."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = Path(__file__).resolve().parents[2] / "benchmarks" / "spider_model"
DATASET = "601"
SHORT = "1epochs_2iters"
LAST = "1epochs_1iters"
REFINER = f"nnUNetTrainerSpineSegDiffSagittal_{LAST}"


@pytest.mark.slow
def test_the_recipe_ends_in_a_model_that_segments(tmp_path):
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        **{f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")},
        "OMP_NUM_THREADS": "1",
        "nnUNet_def_n_proc": "1",
    }

    def run(*words: str, allowed: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode in allowed, done.stdout + done.stderr
        return done.stdout

    def script(name: str, *words: str) -> str:
        return run(sys.executable, str(RECIPE / name), *words)

    run("spinesegdiff", "phantom", "-o", "cohort", "--patients", "5", "-np", "2")
    run(
        *("spinesegdiff", "convert", "-i", "cohort", "-d", DATASET, "--t2_source", "both"),
        *("--slices", "middle", "--ignore_label", "255", "-np", "2"),
    )
    coarsely = ("-overwrite_target_spacing", "4", "4", "4")
    run("nnUNetv2_plan_and_preprocess", "-d", DATASET, "-c", "2d", "-np", "1", "-npfp", "1", *coarsely)
    script("small_plans.py", DATASET)
    script("train.py", DATASET, "--stage1", SHORT, "--refiner", SHORT)
    script("train.py", DATASET, "--stage1", LAST, "--refiner", LAST, "--after", SHORT, SHORT)
    script("evaluate.py", DATASET, REFINER, "-o", "scores")
    with (tmp_path / "scores" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["system"] for row in rows} >= {"stage 1", "refined", "mean of both"}
    assert {row["structure"] for row in rows} == {"spinal_canal", "vertebrae", "ivd"}
    assert {row["fold"] for row in rows} == set("01234")
    model = ("-d", DATASET, "-p", "nnUNetPlansQuarter", "-tr", REFINER)
    run("spinesegdiff", "calibrate", *model, "-device", "cpu", "-np", "1")
    run("spinesegdiff", "export", *model, "-f", "0", "1", "--half", "-o", "model.zip")
    # After four iterations no scan has a plausible mask; the command must end in its own words.
    run(
        *("spinesegdiff", "segment", "-i", "cohort/images", "-o", "out", "-m", "model.zip", "-device", "cpu"),
        allowed=(0, 1),
    )
    assert (tmp_path / "out" / "run.json").is_file()
