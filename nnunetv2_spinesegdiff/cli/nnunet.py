"""Training and predicting with nnU-Net's commands, and what belongs to their models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..environment import folder_of, make_trainers_known, shell_lines
from ..preflight import (
    check_before_prediction,
    check_device,
    check_planned,
    check_trainer,
    name_of_dataset,
)
from .words import add_command, add_device, add_plans, add_processes, fold, print_failures


def add_train(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "train",
        "Run nnUNetv2_train with the SpineSegDiff trainers. Options that are not listed here are passed "
        "on to it (--c, --val, --npz, -num_gpus, ...).",
    )
    add_plans(p, trainer="name of the trainer, with or without suffixes")
    p.add_argument("-f", type=fold, required=True, metavar="FOLD", help="fold: 0 to 4, or all")
    # Listed although it is only passed on: argparse would read an unknown -pretrained_weights as -p.
    p.add_argument("-pretrained_weights", metavar="FILE", help="checkpoint to start from")
    add_device(p, "where to train", "cuda")
    p.set_defaults(run=_train, passes_on=True)


def _train(options: argparse.Namespace) -> None:
    check_planned(options.d, options.c, options.p)
    check_device(options.device)
    make_trainers_known()
    check_trainer(options.tr)
    from nnunetv2.run.run_training import run_training_entry

    words = [options.d, options.c, options.f, "-tr", options.tr, "-p", options.p, "-device", options.device]
    if options.pretrained_weights is not None:
        words += ["-pretrained_weights", options.pretrained_weights]
    sys.argv = ["nnUNetv2_train", *words, *options.rest]
    run_training_entry()


def add_presegment(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "presegment",
        "Collect the validation predictions of every fold of a stock training (made with --npz) in the "
        "preprocessed dataset. nnUNetTrainerSpineSegDiff then trains on presegmentations of cases that "
        "stage 1 was not trained on.",
    )
    add_plans(p)
    stock = "full name of the stock trainer; without it nnUNetTrainer, otherwise nnUNetTrainerStage1"
    p.add_argument("-tr", metavar="TRAINER", help=stock)
    add_processes(p)
    p.set_defaults(run=_presegment)


def _presegment(options: argparse.Namespace) -> int:
    check_planned(options.d, options.c, options.p)
    from ..training.presegment import collect, find_stock

    dataset = name_of_dataset(options.d, "convert it first")
    results, preprocessed = (folder_of(f"nnUNet_{name}") / dataset for name in ("results", "preprocessed"))
    stock = find_stock(results, preprocessed, options.c, options.p, options.tr)
    collected = collect(stock, options.np)
    status = print_failures(collected.failures)
    print(f"{len(collected.cases)} out-of-fold presegmentations of {stock.trainer} in {collected.folder}")
    if collected.never_held_out:
        print(f"{len(collected.never_held_out)} cases have none, because no fold is validated on them")
    if status:
        print("error: they are incomplete and not used until that is fixed: see above", file=sys.stderr)
    return status


def add_calibrate(commands: argparse._SubParsersAction) -> None:
    from ..inference.flags import add_sampling_flags

    p = add_command(
        commands,
        "calibrate",
        "Calibrate a model with the validation cases of its trained folds, and store the result with the "
        "model. Predictions with the same options, and at least one SpineSegDiff option such as "
        "--refine, then have calibrated probabilities and maps, and bounds on every area. The bounds hold "
        "for about 90 % of new cases (cross-conformal).",
    )
    add_plans(p, trainer="full name of the trainer")
    p.add_argument("-f", type=int, nargs="+", metavar="FOLD", help="folds to use instead of all trained ones")
    p.add_argument("-chk", default="checkpoint_final.pth", metavar="NAME", help="checkpoint")
    add_device(p, "where to predict", "cuda")
    p.add_argument("--disable_tta", action="store_true", help="no mirroring; also needed in predictions")
    p.add_argument("--no_refine", action="store_true", help="calibrate stage 1 alone")
    p.add_argument("-o", type=Path, metavar="FILE", help="diagram to write instead of MODEL/reliability.png")
    add_sampling_flags(p)
    add_processes(p)
    p.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    check_device(options.device)
    make_trainers_known()
    from ..calibration.command import run_calibration

    return run_calibration(options)


def add_predict(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "predict",
        "Run nnUNetv2_predict with the SpineSegDiff trainers and options (see -h). All other options are "
        "passed on to it.",
        add_help=False,
    )
    p.set_defaults(run=_predict, passes_on=True)


def _predict(options: argparse.Namespace) -> None:
    from ..inference.command import predict

    if not {"-h", "--help"} & set(options.rest):
        check_before_prediction(options.rest)
    make_trainers_known()
    predict(options.rest)


def add_uncertainty(commands: argparse._SubParsersAction) -> None:
    from ..inference.flags import add_map_flag

    p = add_command(
        commands,
        "uncertainty",
        "Write uncertainty maps and confidence.csv for an nnU-Net prediction made with --save_probabilities.",
    )
    p.add_argument("-i", type=Path, required=True, metavar="FOLDER", help="output folder of the prediction")
    p.add_argument("-o", type=Path, metavar="OUT", help="output folder instead of FOLDER/uncertainty")
    p.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder of the scans; with it, one picture per case is drawn",
    )
    add_map_flag(p)
    add_processes(p)
    p.set_defaults(run=_uncertainty)


def _uncertainty(options: argparse.Namespace) -> int:
    from ..inference.npz_uncertainty import uncertainty_of_folder
    from ..measures import ENTROPY, ERROR

    measure = ENTROPY if vars(options).get("uncertainty_map") == "paper" else ERROR
    done = uncertainty_of_folder(options.i, options.o, options.images, options.np, measure)
    status = print_failures(done.failures)
    print(f"{len({row['case'] for row in done.rows})} cases in {done.out}")
    return status


def add_env(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "env",
        'Print shell commands. After `eval "$(spinesegdiff env)"`, nnUNetv2_train finds the SpineSegDiff '
        "trainers, and nnUNetv2_predict has the SpineSegDiff options.",
    )
    p.set_defaults(run=lambda options: print(shell_lines(), end=""))
