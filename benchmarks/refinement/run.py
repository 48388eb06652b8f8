"""Train the arms of a study: every arm, fold and seed in a process of its own, several side by side.

What is finished is not repeated, and an interrupted training goes on from its latest checkpoint. Every arm
has stage 1's optimizer: AdamW, warm-up and half a cosine. A refiner learns from out-of-fold presegmentations
of the stage 1 of its seed. Seconds of training are those of the CPU, so trainings beside it do not count.

    python benchmarks/refinement/run.py benchmarks/refinement/study.yaml --jobs 2
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONTROLS = ROOT / "control_trainers"


@dataclass(frozen=True)
class Arm:
    """A trained arm of the study.

    Attributes:
        trainer: its base name and the suffixes that are its own.
        iterations: of training.
        stage1: name of the arm that it refines; empty for networks of one stage.
        after: name of the arm whose weights it begins with.
    """

    name: str
    trainer: str
    iterations: int
    stage1: str = ""
    after: str = ""
    iterations_per_epoch: int = 50

    @property
    def full_trainer(self) -> str:
        base, _, suffixes = self.trainer.partition("_")
        epochs = self.iterations // self.iterations_per_epoch
        length = f"{epochs}epochs_{self.iterations_per_epoch}iters"
        return "_".join(filter(None, (base, length, suffixes)))


@dataclass(frozen=True)
class Cell:
    """One training."""

    dataset: str
    plans: str
    results: Path
    """nnUNet_results of the seed, so that no name of a trainer needs one."""
    arm: Arm
    stage1: Arm | None
    after: Arm | None
    fold: int
    seed: int

    def folder_of(self, arm: Arm) -> Path:
        """The fold's folder of an arm."""
        return self.results / self.dataset / f"{arm.full_trainer}__{self.plans}__2d" / f"fold_{self.fold}"

    @property
    def folder(self) -> Path:
        return self.folder_of(self.arm)

    @property
    def finished(self) -> bool:
        return (self.folder / "validation" / "summary.json").exists()


@dataclass(frozen=True)
class Study:
    """A description of arms, folds and seeds.

    Attributes:
        means: arms whose probabilities are averaged, by the name of the mean.
        weighted: two arms each, whose mean has a weight that is fitted in the other folds.
    """

    dataset: str
    plans: str
    folds: int
    seeds: int
    arms: dict[str, Arm]
    means: dict[str, list[str]]
    weighted: dict[str, list[str]]

    def rounds(self, seed: int) -> list[list[Cell]]:
        """Trainings of a seed; those of a round need what the rounds before have left."""
        rounds: list[list[Cell]] = [[], []]
        results = Path(os.environ["nnUNet_results"]) / f"seed_{seed}"
        for arm in self.arms.values():
            needed = self.arms.get(arm.stage1), self.arms.get(arm.after)
            rounds[any(needed)] += [
                Cell(self.dataset, self.plans, results, arm, *needed, fold, seed)
                for fold in range(self.folds)
            ]
        return rounds


def read_study(path: Path) -> Study:
    """Read a study's YAML."""
    described = yaml.safe_load(path.read_text(encoding="utf-8"))
    epoch = described.get("iterations_per_epoch", 50)
    arms = {
        name: Arm(name, iterations_per_epoch=epoch, **fields) for name, fields in described["arms"].items()
    }
    keys = ("dataset", "plans", "folds", "seeds")
    combined = {key: described.get(key, {}) for key in ("means", "weighted")}
    return Study(**{key: described[key] for key in keys}, arms=arms, **combined)


def train(cell: Cell) -> None:
    """Train and validate one cell in this process.

    nnU-Net reads its folders when it is imported, so nothing may have imported it before.
    """
    os.environ["nnUNet_results"] = str(cell.results)
    os.environ["nnUNet_n_proc_DA"] = "0"
    os.environ["spinesegdiff_stage1"] = cell.stage1.full_trainer if cell.stage1 else ""
    cell.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(cell.folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    from nnunetv2_spinesegdiff.environment import external_trainers

    os.environ["nnUNet_extTrainer"] = os.pathsep.join([external_trainers(), str(CONTROLS)])
    import numpy as np
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint

    torch.set_num_threads(1)
    seed = 1000 * cell.seed + cell.fold
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - nnU-Net's loaders draw from it
    going_on = any(cell.folder.glob("checkpoint_*.pth"))
    weights = str(cell.folder_of(cell.after) / "checkpoint_final.pth") if cell.after else None
    trainer = get_trainer_from_args(
        cell.dataset, "2d", cell.fold, cell.arm.full_trainer, cell.plans, device=torch.device("cpu")
    )
    maybe_load_checkpoint(trainer, going_on, False, None if going_on else weights)
    started = time.process_time()
    trainer.run_training()
    seconds = time.process_time() - started
    if not going_on:
        cost = {"seconds": round(seconds, 1), "iterations": cell.arm.iterations}
        (cell.folder / "cost.json").write_text(json.dumps(cost), encoding="utf-8")
    trainer.perform_actual_validation(True)


def run_all(cells: list[Cell], jobs: int) -> None:
    """Train what is not finished yet, `jobs` at a time."""
    todo = [cell for cell in cells if not cell.finished]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool:
        futures = [pool.submit(train, cell) for cell in todo]
        for cell, future in zip(todo, futures, strict=True):
            future.result()
            print(f"seed {cell.seed}, fold {cell.fold}, {cell.arm.name}: finished", flush=True)


def collect(study: Study, seed: int) -> None:
    """Collect out-of-fold presegmentations of the stage 1 that is refined, those of this seed."""
    for name in dict.fromkeys(arm.stage1 for arm in study.arms.values() if arm.stage1):
        words = ["spinesegdiff", "presegment", "-d", study.dataset, "-p", study.plans]
        words += ["-tr", study.arms[name].full_trainer]
        results = Path(os.environ["nnUNet_results"]) / f"seed_{seed}"
        subprocess.run(words, check=True, env={**os.environ, "nnUNet_results": str(results)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--seeds", type=int, help="only the first ones")
    parser.add_argument("--arms", nargs="+", help="only these of those that need another arm")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    study = read_study(options.study)
    rounds = [study.rounds(seed) for seed in range(options.seeds or study.seeds)]
    run_all([cell for first, _ in rounds for cell in first], options.jobs)
    for seed, (_, second) in enumerate(rounds):
        second = [cell for cell in second if not options.arms or cell.arm.name in options.arms]
        if any(cell.stage1 and not cell.finished for cell in second):
            collect(study, seed)
        run_all(second, options.jobs)


if __name__ == "__main__":
    main()
