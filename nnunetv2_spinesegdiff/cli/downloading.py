"""Downloading published data."""

from __future__ import annotations

import argparse
import shlex

from ..downloads.datasets import SPIDER
from ..errors import UserError
from .words import add_command, add_output


def add_download(commands: argparse._SubParsersAction) -> None:
    p = add_command(
        commands,
        "download",
        "Download SPIDER from Zenodo (about 4 GB), check it, and unpack it into a folder for "
        "`spinesegdiff convert`. A second run continues an interrupted one.",
        extra="download",
    )
    add_output(p, "output folder")
    parts = list(SPIDER.parts)
    p.add_argument("--only", nargs="+", choices=parts, default=parts, help="parts to download instead of all")
    mirror = "address of a mirror that holds the same files"
    p.add_argument("--base_url", default=SPIDER.base_url, metavar="URL", help=mirror)
    p.add_argument("--keep_zips", action="store_true", help="keep the zips after unpacking")
    p.set_defaults(run=_download)


def _download(options: argparse.Namespace) -> None:
    from ..downloads.download import download

    print(*SPIDER.about, sep="\n", flush=True)
    try:
        choices = {"only": options.only, "base_url": options.base_url, "keep_zips": options.keep_zips}
        report = download(options.o, **choices, dataset=SPIDER)
    except KeyboardInterrupt:
        raise UserError(
            options.o, "interrupted", "run the same command again, which continues this one"
        ) from None
    for note in report.notes:
        print(note)
    if report.kept:
        print(f"Kept: {', '.join(report.kept)}")
    for line in report.made:
        print(line)
    if all((options.o / name).is_dir() for name in ("images", "masks")):
        print(f"Next: spinesegdiff convert -i {shlex.quote(str(options.o))} -d 501")
