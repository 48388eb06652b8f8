"""Train both stages of all folds, several trainings side by side on one CPU thread each.

Small networks gain next to nothing from a second thread, so two trainings on two cores take as long as one.
A training that was interrupted goes on from its latest checkpoint, a finished one is not repeated.

    python benchmarks/spider_model/train.py 601 --jobs 2
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from small_plans import NAME

from nnunetv2_spinesegdiff.environment import external_trainers

STAGE1 = "nnUNetTrainerStage1Sagittal_{stage1}epochs_{iters}iters"
REFINER = "nnUNetTrainerSpineSegDiffSagittal_{refiner}epochs_{iters}iters"
EPOCHS = {"stage1": 18, "refiner": 8}
ITERS = 50
SEED = 20261130

ONE_TRAINING = """
import sys
import numpy as np, torch
from nnunetv2.run.run_training import run_training
dataset, trainer, plans, fold, go_on, seed = sys.argv[1:]
torch.manual_seed(int(seed)); np.random.seed(int(seed))
device = torch.device("cpu")
run_training(dataset, "2d", fold, trainer, plans, continue_training=go_on == "yes", device=device)
"""


def train(dataset: str, trainer: str, fold: int, **environment: str) -> None:
    """Train one fold in a process of its own, unless it is finished."""
    folder = Path(os.environ["nnUNet_results"]) / dataset / f"{trainer}__{NAME}__2d" / f"fold_{fold}"
    if (folder / "validation" / "summary.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    go_on = "yes" if any(folder.glob("checkpoint_*.pth")) else "no"
    variables = {
        **os.environ,
        "nnUNet_extTrainer": external_trainers(),
        "nnUNet_n_proc_DA": "0",
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    words = [sys.executable, "-c", ONE_TRAINING, dataset, trainer, NAME, str(fold), go_on, str(SEED + fold)]
    with (folder / "console.log").open("ab") as log:
        subprocess.run(words, env=variables, stdout=log, stderr=log, check=True)


def train_all(dataset: str, folds: list[int], jobs: int, stage1: str, refiner: str) -> None:
    """Train both stages of every fold; a refiner begins when the stage 1 of its fold has ended."""

    def refine(fold: int, before: Future[None]) -> None:
        before.result()
        train(dataset, refiner, fold, spinesegdiff_stage1=stage1)

    with ThreadPoolExecutor(jobs) as pool:
        first: dict[int, Future[None]] = {}
        second: list[Future[None]] = []
        for fold in folds:
            first[fold] = pool.submit(train, dataset, stage1, fold)
            # A refiner enters the queue behind the stage 1 of the next fold, so that no job waits for long.
            second += [pool.submit(refine, k, first[k]) for k in list(first)[len(second) : -1]]
        second += [pool.submit(refine, k, first[k]) for k in folds[len(second) :]]
        for job in second:
            job.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="id or name of a dataset with the plans of small_plans.py")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    for stage, epochs in EPOCHS.items():
        parser.add_argument(f"--{stage}", type=int, default=epochs, help="epochs")
    parser.add_argument("--iters", type=int, default=ITERS, help="iterations per epoch")
    options = parser.parse_args()
    dataset = maybe_convert_to_dataset_name(options.dataset)
    lengths = {name: getattr(options, name) for name in (*EPOCHS, "iters")}
    train_all(dataset, options.folds, options.jobs, STAGE1.format(**lengths), REFINER.format(**lengths))


if __name__ == "__main__":
    main()
