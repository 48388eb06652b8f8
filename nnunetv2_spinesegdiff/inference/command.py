"""`nnUNetv2_predict` with SpineSegDiff options: the stock command with another predictor."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..environment import make_trainers_known
from ..errors import UserError
from ..preflight import check_before_prediction
from .flags import add_map_flag, add_sampling_flags, sampling_choices


def flags_parser() -> argparse.ArgumentParser:
    """SpineSegDiff options alone; what this parser does not know belongs to the stock command."""
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_predict", add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS
    )
    group = parser.add_argument_group(
        "SpineSegDiff (models trained with a nnUNetTrainerSpineSegDiff)",
        "With any of these options, cases that cannot be read, contain NaN or Inf, or are constant are "
        "skipped and reported, and the exit status is 1.",
    )
    absent: dict[str, Any] = {"default": argparse.SUPPRESS}
    choice = group.add_mutually_exclusive_group()
    choice.add_argument(
        "--refine",
        dest="refine",
        action="store_true",
        help="Refine stage 1 with the diffusion network (the default of these models).",
        **absent,
    )
    choice.add_argument(
        "--no_refine", dest="refine", action="store_false", help="Stage 1 alone, unrefined.", **absent
    )
    add_sampling_flags(group)
    group.add_argument(
        "--save_uncertainty",
        action="store_true",
        help="Write uncertainty maps, one picture per scan, and confidence.csv to OUTPUT/uncertainty.",
        **absent,
    )
    add_map_flag(group)
    return parser


def predict(arguments: list[str]) -> None:
    """Run `nnUNetv2_predict` with `arguments`, which may hold SpineSegDiff options.

    Without any SpineSegDiff option this is the stock command, untouched.

    Raises:
        UserError: dataset, model or device is not there, the model has no refiner, the flags ask for what
            model or machine cannot do, nothing to predict was found, or cases were left out.
    """
    from ..nnunet_hooks import command_line, stock

    ours, rest = flags_parser().parse_known_args(arguments)
    asks_for_help = bool({"-h", "--help"} & set(rest))
    if asks_for_help:
        print(flags_parser().format_help())
    with command_line(["nnUNetv2_predict", *rest]):
        if asks_for_help or not vars(ours):
            stock.predict_entry_point()
            return
        check_before_prediction(rest)
        _predict_with_our_predictor(ours)


def _predict_with_our_predictor(ours: argparse.Namespace) -> None:
    from ..nnunet_hooks import predictor_class, stock
    from .memory import keep_freed_memory
    from .predictor import SpineSegDiffPredictor
    from .settings import PredictionSettings

    names = ("refine", "save_uncertainty", "uncertainty_map")
    given = {name: value for name, value in vars(ours).items() if name in names}
    if "uncertainty_map" in given and "save_uncertainty" not in given:
        raise UserError("--uncertainty_map", "no map is written", "add --save_uncertainty")
    settings = PredictionSettings(**given, **sampling_choices(ours))
    made: list[SpineSegDiffPredictor] = []

    class Predictor(SpineSegDiffPredictor):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, settings=settings, **kwargs)
            made.append(self)

    keep_freed_memory()
    with predictor_class(Predictor):
        stock.predict_entry_point()
    failures = [line for predictor in made for line in predictor.failures]
    if failures:
        raise UserError(f"{len(failures)} case(s) skipped, all others are finished", " | ".join(failures))


def main() -> int:
    """What the `nnUNetv2_predict` of `spinesegdiff env` runs."""
    make_trainers_known()
    try:
        predict(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
