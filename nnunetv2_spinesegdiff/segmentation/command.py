"""`spinesegdiff segment`: the flags, and what is said at the end."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Sequence

import torch

from ..errors import UserError
from ..inference.flags import sampling_choices
from ..inference.memory import keep_freed_memory
from ..inference.settings import PredictionSettings
from ..sharing.bundled import model_path
from .cohort import Done, ModelChoice, segment_cohort
from .many import Failure
from .outputs import Formats
from .settings import SegmentationSettings

NAMED = 5
"""Files that are passed over are named up to so many; run.json names all."""


def run_segment(options: argparse.Namespace) -> int:
    """Segment, tell what came of it, and return the exit status: 1 where a scan has no result."""
    if not 0 <= options.part_id < options.num_parts:
        raise UserError(f"--part_id {options.part_id}", f"choose 0 to {options.num_parts - 1}")
    if options.dicom_seg:
        from ..images.dicom_seg import check_highdicom

        check_highdicom()
    given = vars(options)
    settings = SegmentationSettings(
        slices=options.slices,
        series=given.get("series"),
        any_plane=options.any_plane,
        mirroring=not options.disable_tta,
        prediction=PredictionSettings(
            refine=options.refine, save_uncertainty=True, **sampling_choices(options)
        ),
    )
    device = given.get("device") or ("cuda" if torch.cuda.is_available() else "cpu")
    keep_freed_memory()
    done = segment_cohort(
        options.i,
        options.o,
        ModelChoice(model_path(options.m), given.get("f"), given.get("chk"), torch.device(device)),
        settings,
        Formats(options.keep_format, options.dicom_seg),
        part=(options.part_id, options.num_parts),
        command=["spinesegdiff", *options.words],
        progress=True,
    )
    _tell(done)
    print(
        f"{len(done.segmented)} segmented, {len(done.kept)} finished already, {len(done.failures)} failed: "
        f"{options.o}"
    )
    return 1 if done.failures else 0


def _tell(done: Done) -> None:
    for note in done.notes:
        print(f"note: {note}", file=sys.stderr)
    if done.passed_over:
        print(f"warning: {_passed_over(done.passed_over)}", file=sys.stderr)
    for name, lines in done.warnings.items():
        print(f"warning: {name}: {'; '.join(lines)}", file=sys.stderr)
    if done.failures:
        print(_table(done.failures), file=sys.stderr)


def _passed_over(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > NAMED else ""
    count = "1 file was" if len(names) == 1 else f"{len(names)} files were"
    return f"{count} skipped, in a format that is not read: {', '.join(names[:NAMED])}{more}"


def _table(failures: Sequence[Failure]) -> str:
    """Scans and causes, side by side."""
    names = ["scan", *(failure.source.name for failure in failures)]
    causes = ["why there is no result", *(failure.reason for failure in failures)]
    width = min(max(map(len, names)), 40)
    rows = [
        textwrap.fill(cause, 110, initial_indent=f"{name:<{width}}  ", subsequent_indent=" " * (width + 2))
        for name, cause in zip(names, causes, strict=True)
    ]
    return "\n".join([rows[0], "-" * 110, *rows[1:]])
