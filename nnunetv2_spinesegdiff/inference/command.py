"""`nnUNetv2_predict` with our flags: the stock command and its options, with a predictor of ours."""

from __future__ import annotations

import argparse
import sys
from unittest import mock

from ..environment import make_trainers_known
from ..errors import UserError
from ..preflight import check_before_prediction


def flags_parser() -> argparse.ArgumentParser:
    """Our flags alone; what this parser does not know belongs to the stock command."""
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_predict", add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS
    )
    group = parser.add_argument_group("SpineSegDiff (models trained with a nnUNetTrainerSpineSegDiff)")
    choice = group.add_mutually_exclusive_group()
    choice.add_argument(
        "--refine",
        dest="refine",
        action="store_const",
        const=True,
        help="Refine stage 1 with the diffusion network (what these models do without a flag, too). Cases "
        "that cannot be read, hold NaN or Inf or are constant are left out and reported; the exit status is "
        "then 1.",
    )
    choice.add_argument(
        "--no_refine", dest="refine", action="store_const", const=False, help="Stage 1 alone, unrefined."
    )
    return parser


def predict(arguments: list[str]) -> None:
    """Run `nnUNetv2_predict` with `arguments`, which may hold our flags.

    Without any of our flags this is the stock command, untouched.

    Raises:
        UserError: dataset, model or device is not there, the model has no refiner, nothing to predict was
            found, or cases were left out.
    """
    from nnunetv2.inference import predict_from_raw_data as stock

    ours, rest = flags_parser().parse_known_args(arguments)
    if {"-h", "--help"} & set(rest):
        print(flags_parser().format_help())
    with mock.patch.object(sys, "argv", ["nnUNetv2_predict", *rest]):
        if ours.refine is None:
            stock.predict_entry_point()
            return
        if not {"-h", "--help"} & set(rest):
            check_before_prediction(rest)
        _predict_with_our_predictor(ours.refine)


def _predict_with_our_predictor(refine: bool) -> None:
    from nnunetv2.inference import predict_from_raw_data as stock

    from .predictor import SpineSegDiffPredictor

    made: list[SpineSegDiffPredictor] = []

    class Predictor(SpineSegDiffPredictor):
        def __init__(self, *args: object, **kwargs: object):
            super().__init__(*args, **kwargs)
            self.refine = refine
            made.append(self)

    # The stock entry point builds its predictor by this name and offers no other way to choose one.
    with mock.patch.object(stock, "nnUNetPredictor", Predictor):
        stock.predict_entry_point()
    failures = [line for predictor in made for line in predictor.failures]
    if failures:
        raise UserError(f"{len(failures)} case(s) left out, the others are done. " + " | ".join(failures))


def main() -> int:
    """What the `nnUNetv2_predict` of `spinesegdiff env` runs."""
    make_trainers_known()
    try:
        predict(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
