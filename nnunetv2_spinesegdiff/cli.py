"""The command `spinesegdiff`: every subcommand parses its words and calls one function."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .environment import folder_of, make_trainers_known, shell_lines
from .errors import UserError
from .preflight import (
    check_before_prediction,
    check_device,
    check_planned,
    check_trainer,
    name_of_dataset,
)

# Imports of torch and SimpleITK wait until a subcommand needs them: `spinesegdiff -h` answers at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; exit status 0, 1 for a user's mistake (told in one line), or 2 for wrong words."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and not getattr(options, "passes_on", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    try:
        return options.run(options) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spinesegdiff",
        allow_abbrev=False,
        description="SpineSegDiff for nnU-Net v2: lumbar spine MR segmentation, refined by diffusion.",
    )
    parser.add_argument("--version", action="version", version=f"spinesegdiff {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return parser


def _add_command(
    commands: argparse._SubParsersAction, name: str, text: str, **kwargs: Any
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=text,
        description=text,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        **kwargs,
    )


def _add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-np", type=_positive, default=os.cpu_count() or 1, metavar="N", help="worker processes"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return number


def _fold(text: str) -> str:
    if text != "all" and not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is neither a fold (0, 1, ...) nor all")
    return text


# --- demo ------------------------------------------------------------------------------------------------


def _add_demo(commands: argparse._SubParsersAction) -> None:
    p = _add_command(
        commands, "demo", "Run everything on a made-up cohort: a table and a picture in a few minutes."
    )
    p.add_argument("-o", type=Path, required=True, metavar="DIR", help="output folder, new or empty")
    p.add_argument(
        "-device", choices=["cpu", "cuda", "mps"], default="cpu", help="where to train and predict"
    )
    p.add_argument("--seed", type=int, default=0, help="seed of the cohort")
    p.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    check_device(options.device)
    from .demo import run_demo

    run_demo(options.o, device=options.device, seed=options.seed)


# --- data ------------------------------------------------------------------------------------------------


def _add_phantom(commands: argparse._SubParsersAction) -> None:
    p = _add_command(
        commands, "phantom", "Make up a lumbar MR cohort in SPIDER's layout (images, masks, tables)."
    )
    p.add_argument("-o", type=Path, required=True, metavar="DIR", help="output folder")
    p.add_argument("--patients", type=_positive, default=20, metavar="N", help="number of patients")
    p.add_argument("--seed", type=int, default=0, help="seed; patient p of seed s is always the same")
    _add_processes(p)
    p.set_defaults(run=_phantom)


def _phantom(options: argparse.Namespace) -> None:
    from .dataset_conversion.phantom import make_phantom

    written = make_phantom(options.o, patients=options.patients, seed=options.seed, num_processes=options.np)
    print(f"{len(written)} series of {options.patients} made-up patients in {options.o}")


def _add_convert(commands: argparse._SubParsersAction) -> None:
    from .dataset_conversion import defaults

    p = _add_command(commands, "convert", "Convert SPIDER to an nnU-Net raw dataset with folds by patient.")
    p.add_argument(
        "-i", type=Path, required=True, metavar="SPIDER", help="folder that holds images/ and masks/"
    )
    p.add_argument("-d", type=int, required=True, metavar="ID", help="nnU-Net dataset id, 1 to 999")
    p.add_argument("--name", default=defaults.DATASET_NAME, help="dataset name: Dataset<ID>_<name>")
    p.add_argument("--contrast", choices=["t1", "t2", "t1t2"], default=defaults.CONTRAST, help="which series")
    p.add_argument(
        "--t2_source",
        choices=["t2", "space"],
        default=defaults.T2_SOURCE,
        help="which series is T2w where a patient has both",
    )
    p.add_argument(
        "--partial_vertebrae",
        choices=["vertebra", "background", "ignore"],
        default=defaults.PARTIAL_VERTEBRAE,
        help="what partially visible vertebrae (SPIDER 101 to 125) become",
    )
    p.add_argument(
        "--max_oblique_deg",
        type=float,
        default=defaults.MAX_OBLIQUE_DEG,
        metavar="DEG",
        help="series whose slice normal is further than this from left-right, in degrees, are never "
        "validated on",
    )
    p.add_argument(
        "--splits", type=Path, metavar="FILE", help="published folds (JSON) instead of seeded ones"
    )
    p.add_argument(
        "--slices",
        choices=["middle", "all"],
        default=defaults.SLICES,
        help="sagittal slices of a case; for --dim 2d, a 3d volume always holds all",
    )
    p.add_argument(
        "--dim",
        choices=["2d", "3d"],
        default=defaults.DIM,
        help="slices of 320 x 320, or 64 x 320 x 320 volumes",
    )
    p.add_argument("--seed", type=int, default=defaults.SEED, help="seed of the folds")
    _add_processes(p)
    p.set_defaults(run=_convert, np=defaults.NUM_PROCESSES)


def _convert(options: argparse.Namespace) -> int:
    from .dataset_conversion.convert import convert

    # Only training needs it, but nnU-Net looks for the id there, too.
    results = os.environ.get("nnUNet_results")
    report = convert(
        options.i,
        options.d,
        dataset_name=options.name,
        contrast=options.contrast,
        t2_source=options.t2_source,
        partial_vertebrae=options.partial_vertebrae,
        max_oblique_deg=options.max_oblique_deg,
        splits=options.splits,
        slices=options.slices,
        dim=options.dim,
        num_processes=options.np,
        seed=options.seed,
        nnunet_raw=folder_of("nnUNet_raw"),
        nnunet_preprocessed=folder_of("nnUNet_preprocessed"),
        nnunet_results=Path(results) if results else None,
    )
    for note in report.notes:
        print(note)
    for failure in report.failures:
        print(f"error: {failure}", file=sys.stderr)
    if not report.cases:
        print("error: no series could be converted, so there is no dataset: see above", file=sys.stderr)
        return 1
    patients = len({case.patient for case in report.cases})
    print(f"{len(report.cases)} cases of {patients} patients in {report.dataset}")
    return 1 if report.failures else 0


# --- nnU-Net ---------------------------------------------------------------------------------------------


def _add_train(commands: argparse._SubParsersAction) -> None:
    p = _add_command(
        commands,
        "train",
        "nnUNetv2_train with our trainers known; options that are not listed are passed on to it (--c, "
        "--val, --npz, -num_gpus, ...).",
    )
    p.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    p.add_argument("-c", default="2d", metavar="CONFIGURATION", help="configuration of the plans")
    p.add_argument("-f", type=_fold, required=True, metavar="FOLD", help="fold: 0 to 4, or all")
    p.add_argument(
        "-tr", default="nnUNetTrainerSpineSegDiff", metavar="TRAINER", help="trainer, with suffixes or not"
    )
    p.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans identifier")
    # Listed although it is only passed on: argparse would read an unknown -pretrained_weights as -p.
    p.add_argument("-pretrained_weights", metavar="FILE", help="checkpoint whose weights are the start")
    p.add_argument("-device", choices=["cpu", "cuda", "mps"], default="cuda", help="where to train")
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


def _add_presegment(commands: argparse._SubParsersAction) -> None:
    p = _add_command(
        commands,
        "presegment",
        "Collect what every fold of a stock training (made with --npz) predicted of its validation cases "
        "into the preprocessed dataset: nnUNetTrainerSpineSegDiff then learns from presegmentations that a "
        "stage 1 made of cases it has not seen.",
    )
    p.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    p.add_argument("-c", default="2d", metavar="CONFIGURATION", help="configuration of the plans")
    p.add_argument(
        "-tr",
        metavar="TRAINER",
        default=argparse.SUPPRESS,
        help="the stock training's full name; without it nnUNetTrainer, else nnUNetTrainerStage1",
    )
    p.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans identifier")
    _add_processes(p)
    p.set_defaults(run=_presegment)


def _presegment(options: argparse.Namespace) -> int:
    check_planned(options.d, options.c, options.p)
    from .inference.presegment import collect, find_stock

    dataset = name_of_dataset(options.d, "convert it first")
    results, preprocessed = (folder_of(f"nnUNet_{name}") / dataset for name in ("results", "preprocessed"))
    stock = find_stock(results, preprocessed, options.c, options.p, vars(options).get("tr"))
    collected = collect(stock, options.np)
    for failure in collected.failures:
        print(f"error: {failure}", file=sys.stderr)
    print(f"{len(collected.cases)} out-of-fold presegmentations of {stock.trainer} in {collected.folder}")
    if collected.never_held_out:
        print(f"{len(collected.never_held_out)} cases have none, for no fold is validated on them")
    if collected.failures:
        print("error: they are incomplete and not used until that is mended: see above", file=sys.stderr)
    return 1 if collected.failures else 0


def _add_calibrate(commands: argparse._SubParsersAction) -> None:
    from .inference.flags import add_sampling_flags

    p = _add_command(
        commands,
        "calibrate",
        "Learn from the validation cases of the trained folds how far a model is to be trusted, and store it "
        "with the model: predictions with the same flags, and at least one flag of ours (--refine does), "
        "then have calibrated probabilities and maps, and bounds on every area.",
    )
    p.add_argument("-d", required=True, metavar="DATASET", help="dataset id or name")
    p.add_argument("-c", default="2d", metavar="CONFIGURATION", help="configuration of the plans")
    p.add_argument(
        "-f",
        type=int,
        nargs="+",
        metavar="FOLD",
        default=argparse.SUPPRESS,
        help="folds instead of all trained",
    )
    p.add_argument("-tr", default="nnUNetTrainerSpineSegDiff", metavar="TRAINER", help="its full name")
    p.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans identifier")
    p.add_argument("-chk", default="checkpoint_final.pth", metavar="NAME", help="checkpoint")
    p.add_argument("-device", choices=["cpu", "cuda", "mps"], default="cuda", help="where to predict")
    p.add_argument("--disable_tta", action="store_true", help="no mirroring, as in the predictions to come")
    p.add_argument("--no_refine", action="store_true", help="calibrate stage 1 alone")
    p.add_argument(
        "-o",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="diagram instead of MODEL/reliability.png",
    )
    add_sampling_flags(p)
    _add_processes(p)
    p.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    check_device(options.device)
    make_trainers_known()
    from .inference.calibrate_command import run_calibration

    return run_calibration(options)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    p = _add_command(
        commands,
        "predict",
        "nnUNetv2_predict with our trainers and flags (-h tells them). All its own options are passed "
        "on to it.",
        add_help=False,
    )
    p.set_defaults(run=_predict, passes_on=True)


def _predict(options: argparse.Namespace) -> None:
    from .inference.command import predict

    if not {"-h", "--help"} & set(options.rest):
        check_before_prediction(options.rest)
    make_trainers_known()
    predict(options.rest)


def _add_uncertainty(commands: argparse._SubParsersAction) -> None:
    p = _add_command(
        commands,
        "uncertainty",
        "Entropy maps and confidence.csv of any nnU-Net prediction made with --save_probabilities.",
    )
    p.add_argument("-i", type=Path, required=True, metavar="FOLDER", help="output folder of the prediction")
    p.add_argument("-o", type=Path, metavar="OUT", help="output folder instead of FOLDER/uncertainty")
    p.add_argument(
        "--images", type=Path, metavar="DIR", help="folder of the scans; with it, a picture a case is drawn"
    )
    _add_processes(p)
    p.set_defaults(run=_uncertainty)


def _uncertainty(options: argparse.Namespace) -> int:
    from .inference.npz_uncertainty import uncertainty_of_folder

    done = uncertainty_of_folder(options.i, options.o, options.images, options.np)
    for failure in done.failures:
        print(f"error: {failure}", file=sys.stderr)
    print(f"{len({row['case'] for row in done.rows})} cases in {done.out}")
    return 1 if done.failures else 0


def _add_reproduce(commands: argparse._SubParsersAction) -> None:
    from .experiments.description import TABLES

    p = _add_command(
        commands,
        "reproduce",
        "Run the trainings, predictions and evaluations of a table of the paper, or of an experiment of your "
        "own, and make the table. What is finished is not done again, what was stopped goes on.",
    )
    which = p.add_mutually_exclusive_group(required=True)
    which.add_argument("--table", type=int, choices=list(TABLES), help="table of the paper")
    which.add_argument("--description", type=Path, metavar="FILE", help="an experiment of your own, YAML")
    p.add_argument(
        "-d",
        type=_positive,
        nargs="+",
        required=True,
        metavar="ID",
        help="dataset id: T1w, with T2w in the next one and T1w+T2w in the one after that; or the ids of all "
        "three. Table 2 takes one, of T1w+T2w",
    )
    p.add_argument(
        "-o",
        type=Path,
        metavar="DIR",
        default=argparse.SUPPRESS,
        help="folder for masks, logs and table instead of ./table1 (or as the FILE is called)",
    )
    p.add_argument(
        "--num_parts",
        type=_positive,
        default=1,
        metavar="N",
        help="jobs into which every prediction is split; with another number predictions are made again",
    )
    p.add_argument(
        "-device", choices=["cpu", "cuda", "mps"], default="cuda", help="where to train and predict"
    )
    how = p.add_mutually_exclusive_group()
    how.add_argument("--dry_run", action="store_true", help="list the jobs, run nothing")
    how.add_argument("--job", metavar="NAME", help="run this job alone, unless it is finished")
    p.set_defaults(run=_reproduce)


def _reproduce(options: argparse.Namespace) -> None:
    from .experiments.command import reproduce
    from .experiments.plan import Choices

    which = options.table if options.table is not None else options.description
    choices = Choices(which, options.d, getattr(options, "o", None), options.num_parts, options.device)
    if not options.dry_run:
        make_trainers_known()
    reproduce(choices, dry_run=options.dry_run, job=options.job)


def _add_env(commands: argparse._SubParsersAction) -> None:
    p = _add_command(
        commands,
        "env",
        'Print shell lines: after `eval "$(spinesegdiff env)"` nnUNetv2_train knows our trainers and '
        "nnUNetv2_predict our flags.",
    )
    p.set_defaults(run=lambda options: print(shell_lines(), end=""))


COMMANDS = (
    _add_demo,
    _add_phantom,
    _add_convert,
    _add_train,
    _add_presegment,
    _add_calibrate,
    _add_predict,
    _add_uncertainty,
    _add_reproduce,
    _add_env,
)


if __name__ == "__main__":
    sys.exit(main())
