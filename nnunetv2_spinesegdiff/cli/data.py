"""Making and converting data."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..environment import folder_of
from ..preflight import check_device
from .words import BEST_DEVICE, add_command, add_device, add_output, add_processes, positive, print_failures


def add_demo(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "demo",
        "Segment two real example scans with the bundled model: masks, uncertainty maps, pictures, "
        "index.html, measurements.csv and run.json. No environment variable is needed.",
    )
    add_output(p, "output folder, new or empty")
    add_device(p, BEST_DEVICE)
    p.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    from ..demo import run_demo

    return run_demo(options.o, device=options.device)


def add_demo_train(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "demo-train",
        "Run every step on a synthetic cohort: convert, plan, train, predict, export, segment, report. Takes "
        "up to 10 minutes on a CPU.",
        extra="evaluation",
    )
    add_output(p, "output folder, new or empty")
    add_device(p, "where to train and predict", "cpu")
    p.add_argument("--seed", type=int, default=0, help="seed of the cohort")
    p.set_defaults(run=_demo_train)


def _demo_train(options: argparse.Namespace) -> None:
    check_device(options.device)
    from ..demo_train import run_demo_train

    run_demo_train(options.o, device=options.device, seed=options.seed)


def add_phantom(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands, "phantom", "Create a synthetic lumbar MR cohort in SPIDER's layout (images, masks, tables)."
    )
    add_output(p, "output folder")
    p.add_argument("--patients", type=positive, default=20, metavar="N", help="number of patients")
    p.add_argument("--seed", type=int, default=0, help="seed; patient p of seed s is always the same")
    add_processes(p)
    p.set_defaults(run=_phantom)


def _phantom(options: argparse.Namespace) -> None:
    from ..dataset_conversion.phantom import make_phantom

    written = make_phantom(options.o, patients=options.patients, seed=options.seed, num_processes=options.np)
    print(f"{len(written)} series of {options.patients} synthetic patients in {options.o}")


def add_convert(commands: argparse._SubParsersAction) -> None:
    from ..dataset_conversion import defaults

    p = add_command(commands, "convert", "Convert SPIDER to an nnU-Net raw dataset with folds by patient.")
    p.add_argument(
        "-i",
        type=Path,
        nargs="+",
        required=True,
        metavar="SPIDER",
        help="folder with images/ and masks/; several folders if the series are divided among them",
    )
    p.add_argument("-d", type=int, required=True, metavar="ID", help="nnU-Net dataset id, 1 to 999")
    p.add_argument("--name", default=defaults.DATASET_NAME, help="dataset name: Dataset<ID>_<name>")
    p.add_argument(
        "--contrast", choices=["t1", "t2", "t1t2"], default=defaults.CONTRAST, help="series to convert"
    )
    p.add_argument(
        "--t2_source",
        choices=["t2", "space", "both"],
        default=defaults.T2_SOURCE,
        help="T2w series to convert if a patient has both; both: convert them as separate cases",
    )
    p.add_argument(
        "--partial_vertebrae",
        choices=["vertebra", "background", "ignore"],
        default=defaults.PARTIAL_VERTEBRAE,
        help="label of partially visible vertebrae (SPIDER 101 to 125)",
    )
    p.add_argument(
        "--ignore_label",
        type=int,
        metavar="NUMBER",
        help="value of pixels in the masks that were not annotated; they become nnU-Net's ignore label",
    )
    p.add_argument(
        "--max_oblique_deg",
        type=float,
        default=defaults.MAX_OBLIQUE_DEG,
        metavar="DEG",
        help="series whose slice normal differs from left-right by more degrees are not used for validation",
    )
    p.add_argument(
        "--splits", type=Path, metavar="FILE", help="JSON file of published folds, instead of random ones"
    )
    p.add_argument(
        "--slices",
        choices=["middle", "each", "all"],
        default=defaults.SLICES,
        help="middle: one sagittal slice per series; each: every labeled slice as a separate case; all: "
        "all slices of a series in one case. For --dim 2d; a 3d volume always holds all",
    )
    p.add_argument(
        "--dim",
        choices=["2d", "3d"],
        default=defaults.DIM,
        help="slices of 320 x 320, or 64 x 320 x 320 volumes",
    )
    p.add_argument("--seed", type=int, default=defaults.SEED, help="seed of the folds")
    add_processes(p)
    p.set_defaults(run=_convert, np=defaults.NUM_PROCESSES)


def _convert(options: argparse.Namespace) -> int:
    from ..dataset_conversion.convert import convert

    # Only training needs it, but nnU-Net looks for the id there, too.
    results = os.environ.get("nnUNet_results")
    choices = ["contrast", "t2_source", "partial_vertebrae", "ignore_label", "max_oblique_deg", "splits"]
    choices += ["slices", "dim", "seed"]
    report = convert(
        options.i,
        options.d,
        dataset_name=options.name,
        num_processes=options.np,
        **{name: getattr(options, name) for name in choices},
        nnunet_raw=folder_of("nnUNet_raw"),
        nnunet_preprocessed=folder_of("nnUNet_preprocessed"),
        nnunet_results=Path(results) if results else None,
    )
    for note in report.notes:
        print(note)
    status = print_failures(report.failures)
    if not report.cases:
        print("error: no series could be converted, so there is no dataset: see above", file=sys.stderr)
        return 1
    patients = len({case.patient for case in report.cases})
    print(f"{len(report.cases)} cases of {patients} patients in {report.dataset}")
    return status
