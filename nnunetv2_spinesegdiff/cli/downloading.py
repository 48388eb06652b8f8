"""Fetching published data."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ..downloads.datasets import SPIDER
from ..errors import UserError
from .words import add_command


def add_download(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "download",
        "Fetch SPIDER from Zenodo (about 4 GB), check and unpack it into a folder for convert. Run again, it "
        "goes on where it stopped.",
        extra="download",
    )
    p.add_argument("-o", type=Path, required=True, metavar="DIR", help="output folder")
    p.add_argument(
        "--only",
        nargs="+",
        choices=list(SPIDER.parts),
        default=list(SPIDER.parts),
        help="what to fetch",
    )
    p.add_argument(
        "--base_url",
        default=SPIDER.base_url,
        metavar="URL",
        help="address of a mirror that holds the same files",
    )
    p.add_argument("--keep_zips", action="store_true", help="keep the zips after they were unpacked")
    p.set_defaults(run=_download)


def _download(options: argparse.Namespace) -> None:
    from ..downloads.download import download

    print(*SPIDER.about, sep="\n", flush=True)
    try:
        report = download(
            options.o,
            only=options.only,
            base_url=options.base_url,
            keep_zips=options.keep_zips,
            dataset=SPIDER,
        )
    except KeyboardInterrupt:
        raise UserError(options.o, "interrupted", "the same command goes on where this one stopped") from None
    for note in report.notes:
        print(note)
    if report.kept:
        print(f"There already: {', '.join(report.kept)}")
    for line in report.made:
        print(line)
    if all((options.o / name).is_dir() for name in ("images", "masks")):
        print(f"Next: spinesegdiff convert -i {shlex.quote(str(options.o))} -d 501")
