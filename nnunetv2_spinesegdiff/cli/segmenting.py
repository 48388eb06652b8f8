"""From a scan to its segmentation, and a model handed to others."""

from __future__ import annotations

import argparse
import gc
import sys
from pathlib import Path

from ..environment import folder_of, let_waiting_threads_sleep, loading_modules
from ..errors import UserError
from ..preflight import check_device, name_of_dataset
from .words import BEST_DEVICE, add_command, add_device, positive


def add_segment(commands: argparse._SubParsersAction) -> None:
    from ..inference.flags import add_map_flag, add_sampling_flags
    from ..sharing.bundled import DEFAULT

    p = add_command(
        commands,
        "segment",
        "Segment a scan or a folder of scans. The results are masks, uncertainty maps and vertebral levels "
        "on the scan's own grid, pictures, index.html, measurements.csv and run.json. No environment "
        "variable is needed.",
    )
    p.add_argument(
        "-i",
        type=Path,
        required=True,
        metavar="SCAN",
        help="file (.nii, .nii.gz, .mha, .mhd, .nrrd), DICOM folder or zip, a folder of any of these, or a "
        "BIDS dataset, whose results are in the layout of BIDS derivatives",
    )
    p.add_argument(
        "-o",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder for the results, such as derivatives/spinesegdiff in a BIDS dataset",
    )
    p.add_argument(
        "-m",
        default=DEFAULT,
        metavar="MODEL",
        help="name of a bundled model (see `spinesegdiff models`), zip of `spinesegdiff export`, or a "
        "trained model's folder in nnUNet_results; ./NAME if the folder has the name of a bundled model",
    )
    p.add_argument(
        "-f",
        nargs="+",
        metavar="FOLD",
        default=argparse.SUPPRESS,
        help="folds to use instead of all trained folds",
    )
    p.add_argument(
        "-chk", metavar="NAME", default=argparse.SUPPRESS, help="checkpoint instead of the final one"
    )
    add_device(p, BEST_DEVICE, default=argparse.SUPPRESS)
    p.add_argument(
        "--slices",
        type=_slices,
        default="auto",
        metavar="auto|middle|all|NUMBER",
        help="sagittal slices to segment; auto finds the midsagittal one by its spinal canal, and "
        "numbers count from 0 at the patient's left",
    )
    p.add_argument(
        "--series",
        default=argparse.SUPPRESS,
        help="number, UID or description of a DICOM series, if several can be segmented. If the series "
        "holds several volumes, add a colon and an echo time or a word of ImageType (3:water, "
        "3:TE80). In a NIfTI file with several volumes: number of a volume, from 1",
    )
    p.add_argument(
        "--any_plane",
        action="store_true",
        help="also accept axial and coronal scans, whose sagittal slices are interpolated",
    )
    p.add_argument(
        "--lowest_disc",
        default=argparse.SUPPRESS,
        metavar="L5-S1|L4-L5|L6-S1|...",
        help="name of the lowest disc in the scans, from which vertebrae and discs are named upward; without "
        "it the name is inferred from the mask",
    )
    p.add_argument(
        "--keep_format",
        action="store_true",
        help="write masks, maps and levels in the scan's own format instead of NIfTI",
    )
    p.add_argument(
        "--dicom_seg",
        action="store_true",
        help="also write a DICOM segmentation of DICOM scans (pip install 'nnunetv2_spinesegdiff[dicom]')",
    )
    p.add_argument(
        "--rtstruct",
        action="store_true",
        help="also write a DICOM RT structure set of DICOM scans",
    )
    p.add_argument("--disable_tta", action="store_true", help="no mirroring: faster, slightly less accurate")
    choice = p.add_mutually_exclusive_group()
    choice.add_argument(
        "--refine", dest="refine", action="store_true", default=True, help="refine stage 1 by diffusion"
    )
    choice.add_argument(
        "--no_refine",
        dest="refine",
        action="store_false",
        default=argparse.SUPPRESS,
        help="use stage 1 alone",
    )
    add_sampling_flags(p)
    add_map_flag(p)
    p.add_argument(
        "--num_parts",
        type=positive,
        default=1,
        metavar="N",
        help="number of parts into which the scans are divided, one per process or machine",
    )
    p.add_argument("--part_id", type=int, default=0, metavar="K", help="part to segment, 0 to N - 1")
    p.set_defaults(run=_segment)


def _slices(text: str) -> str | int:
    if text in ("auto", "middle", "all"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is neither auto, middle, all, nor the number of a slice")
    return int(text)


def _segment(options: argparse.Namespace) -> int:
    """Segment, print what came of it, and return the exit status: 1 where a scan has no result."""
    let_waiting_threads_sleep()
    with loading_modules():
        import torch

        from ..images.dicom_seg import check_highdicom
        from ..inference.flags import sampling_choices
        from ..inference.memory import keep_freed_memory
        from ..inference.settings import PredictionSettings
        from ..segmentation.cohort import ModelChoice, segment_cohort
        from ..segmentation.outputs import Formats
        from ..segmentation.printed import print_done
        from ..segmentation.settings import SegmentationSettings
        from ..sharing.bundled import model_path

    given = vars(options)
    if "device" in given:
        check_device(options.device)
    if not 0 <= options.part_id < options.num_parts:
        raise UserError(f"--part_id {options.part_id}", f"choose 0 to {options.num_parts - 1}")
    if options.dicom_seg:
        check_highdicom()
    settings = SegmentationSettings(
        slices=options.slices,
        series=given.get("series"),
        any_plane=options.any_plane,
        lowest_disc=given.get("lowest_disc"),
        mirroring=not options.disable_tta,
        prediction=PredictionSettings(
            refine=options.refine,
            save_uncertainty=True,
            uncertainty_map=given.get("uncertainty_map", "error"),
            **sampling_choices(options),
        ),
    )
    device = given.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    keep_freed_memory()
    done = segment_cohort(
        options.i,
        options.o,
        ModelChoice(model_path(options.m), given.get("f"), given.get("chk"), torch.device(device)),
        settings,
        Formats(options.keep_format, options.dicom_seg, options.rtstruct),
        part=(options.part_id, options.num_parts),
        command=["spinesegdiff", *options.words],
        progress=True,
    )
    print_done(done, options.o)
    gc.freeze()  # the garbage collector's last rounds over all objects take 0.1 s
    return 1 if done.failures else 0


def add_export(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "export",
        "Write a trained model to a zip. Others can use it with `spinesegdiff segment -m`, or with "
        "nnUNetv2_install_pretrained_model_from_zip and nnU-Net's own nnUNetv2_predict.",
    )
    p.add_argument("-o", type=Path, required=True, metavar="ZIP", help="zip to write")
    p.add_argument(
        "-m",
        type=Path,
        metavar="MODEL",
        default=argparse.SUPPRESS,
        help="folder of the model, or of a dataset with only one model, instead of -d",
    )
    p.add_argument("-d", metavar="DATASET", default=argparse.SUPPRESS, help="dataset id or name")
    p.add_argument("-c", default="2d", metavar="CONFIGURATION", help="configuration of the plans")
    p.add_argument(
        "-tr", default="nnUNetTrainerSpineSegDiff", metavar="TRAINER", help="full name of the trainer"
    )
    p.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="plans identifier")
    p.add_argument(
        "-f",
        nargs="+",
        metavar="FOLD",
        default=argparse.SUPPRESS,
        help="folds to use instead of all trained folds",
    )
    p.add_argument("-chk", default="checkpoint_final.pth", metavar="NAME", help="checkpoint")
    for name, text in (
        ("license", "license of the model, for its model card"),
        ("authors", "authors, for the model card"),
        ("contact", "contact, for the model card"),
        ("notes", "paragraph of notes, for the model card"),
    ):
        p.add_argument(f"--{name}", default=argparse.SUPPRESS, metavar="TEXT", help=text)
    p.add_argument(
        "--half", action="store_true", help="store weights as float16: half the size; prediction uses float32"
    )
    p.add_argument(
        "--force",
        action="store_true",
        help="replace a file of that name, even if it is not an exported model",
    )
    p.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from ..sharing.export import export_model

    given = vars(options)
    if ("m" in given) == ("d" in given):
        raise UserError(
            "-d or -m", "exactly one of them must name the model", "give its dataset or its folder"
        )
    model = given.get("m")
    if model is None:
        dataset = name_of_dataset(options.d, "train it first")
        model = folder_of("nnUNet_results") / dataset / f"{options.tr}__{options.p}__{options.c}"
    details: dict[str, str] = {n: given[n] for n in ("license", "authors", "contact", "notes") if n in given}
    made = export_model(
        model,
        options.o,
        folds=given.get("f"),
        checkpoint=options.chk,
        details=details,
        half=options.half,
        force=options.force,
    )
    print(f"{made}: {made.stat().st_size / 2**20:.0f} MB", file=sys.stdout)
    return 0


def add_models(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "models",
        "List the trained models that are installed with this package, or print the model card of one.",
    )
    p.add_argument("name", nargs="?", metavar="NAME", help="print the card of this model")
    p.set_defaults(run=_models)


def _models(options: argparse.Namespace) -> None:
    from ..sharing.bundled import DEFAULT, bundled_model, bundled_models

    if options.name is not None:
        print(bundled_model(options.name).card, end="")
        return
    rows = [("name", "size", "segments", "license", "training data", "SHA-256")]
    for model in bundled_models():
        size = f"{model.path.stat().st_size / 2**20:.1f} MB"
        structures = ", ".join(model.structures)
        digest = model.manifest.sha256[:12]
        rows.append((model.name, size, structures, model.license, model.training_data, digest))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    print(f"\n`spinesegdiff segment` uses {DEFAULT} unless -m gives another model.")
