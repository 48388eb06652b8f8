"""Train both stages of all folds, several trainings side by side on one CPU thread each.

Small networks gain next to nothing from a second thread, so two trainings on two cores take as long as one.
First stage 1 of every fold is trained, then the refiners, which learn from presegmentations of cases that a
fold had not seen. A training that was interrupted goes on from its latest checkpoint, a finished one is not
repeated. A second round (`--after`) begins with the weights of a first one.

    python benchmarks/spider_model/train.py 601 --jobs 2
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from small_plans import NAME

from nnunetv2_spinesegdiff.environment import external_trainers

STAGE1 = "nnUNetTrainerStage1Sagittal"
REFINER = "nnUNetTrainerSpineSegDiffSagittal"
FOLDS = range(5)
SEED = 20261130

ONE_TRAINING = """
import sys
import numpy as np, torch
from nnunetv2.run.run_training import run_training
dataset, trainer, plans, fold, seed, go_on, weights = sys.argv[1:]
torch.manual_seed(int(seed)); np.random.seed(int(seed))
run_training(
    dataset, "2d", fold, trainer, plans, weights or None, continue_training=go_on == "yes",
    export_validation_probabilities=True, device=torch.device("cpu"),
)
"""


def train(dataset: str, trainer: str, after: str | None, fold: int, **environment: str) -> None:
    """Train one fold in a process of its own, unless it is finished.

    Args:
        after: length of the same trainer's earlier training, whose weights this one begins with.
    """
    results = Path(os.environ["nnUNet_results"]) / dataset
    folder = results / f"{trainer}__{NAME}__2d" / f"fold_{fold}"
    if (folder / "validation" / "summary.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    go_on = any(folder.glob("checkpoint_*.pth"))
    earlier = f"{trainer.split('_')[0]}_{after}__{NAME}__2d"
    weights = results / earlier / f"fold_{fold}" / "checkpoint_final.pth"
    variables = {
        **os.environ,
        "nnUNet_extTrainer": external_trainers(),
        "nnUNet_n_proc_DA": "0",
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    words = [sys.executable, "-c", ONE_TRAINING, dataset, trainer, NAME, str(fold), str(SEED + fold)]
    words += ["yes", ""] if go_on else ["no", str(weights) if after else ""]
    with (folder / "console.log").open("ab") as log:
        subprocess.run(words, env=variables, stdout=log, stderr=log, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="id or name of a dataset with the plans of small_plans.py")
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--stage1", default="18epochs_50iters", help="length of stage 1's training")
    parser.add_argument("--refiner", default="8epochs_50iters", help="length of the refiner's training")
    parser.add_argument(
        "--after", nargs=2, metavar=("STAGE1", "REFINER"), help="lengths of the round before, of both stages"
    )
    options = parser.parse_args()
    dataset = maybe_convert_to_dataset_name(options.dataset)
    stage1, refiner = f"{STAGE1}_{options.stage1}", f"{REFINER}_{options.refiner}"
    earlier_stage1, earlier_refiner = options.after or (None, None)
    train_stage1 = partial(train, dataset, stage1, earlier_stage1)
    train_refiner = partial(train, dataset, refiner, earlier_refiner, spinesegdiff_stage1=stage1)
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(train_stage1, FOLDS))
        presegment = ["spinesegdiff", "presegment", "-d", dataset, "-p", NAME, "-tr", stage1]
        subprocess.run(presegment, check=True)
        list(pool.map(train_refiner, FOLDS))


if __name__ == "__main__":
    main()
