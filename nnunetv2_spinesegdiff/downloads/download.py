"""What `spinesegdiff download` does: a published dataset to a folder that `convert` reads."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pooch

from ..errors import UserError
from ..images.zips import BadArchive
from . import tables, unpacking
from .archives import unpacked_size
from .connection import WAITS, Server
from .datasets import SPIDER, Archive, Dataset, Table
from .disk import check_free, in_words
from .plan import Task, fetching, room_for
from .resuming import Part, ResumingDownloader
from .room import working_room

_END = 128 << 10


@dataclass
class Downloaded:
    """What a run did.

    Attributes:
        folder: the output folder.
        made: what is new there, a line each.
        kept: names of what was there already, and whole.
        notes: what the user should know.
    """

    folder: Path
    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def download(
    output: Path,
    *,
    only: Sequence[str] = (),
    base_url: str | None = None,
    keep_zips: bool = False,
    dataset: Dataset = SPIDER,
    waits: Sequence[float] = WAITS,
) -> Downloaded:
    """Fetch a dataset, check it and unpack it; for SPIDER `images`, `masks` and two tables.

    What is there and whole is not fetched again, and what is half fetched is gone on with. Folders and files
    of the dataset's names are never written over: what is not whole stops the run before anything is fetched.

    Args:
        output: folder, made if missing.
        only: names of the parts to fetch; all if empty.
        base_url: where the files lie instead of `dataset.base_url`.
        keep_zips: keep the zips beside the folders. Zips that were there before are kept in any case.
        dataset: what to fetch.
        waits: seconds before further attempts where the connection fails; one more failure ends the run.

    Raises:
        UserError: the folder cannot be written or holds something else, a server cannot be reached or lacks a
            file, a checksum is wrong (the file is deleted), or there is not enough room. No folder or table
            is there that is not whole; the same call goes on.
    """
    output, report = Path(output), Downloaded(Path(output))
    for name in (name for name in only if name not in dataset.parts):
        raise UserError(f"{name!r}: choose of {', '.join(dataset.parts)}")
    sources = [source for name, part in dataset.parts.items() if not only or name in only for source in part]
    address = (base_url or dataset.base_url).rstrip("/")
    # Pooch tells what it does; so do the progress bars.
    pooch.get_logger().setLevel(logging.WARNING)
    with _one_line_if_not_usable(output):
        missing = [source for source in sources if _is_missing(output, source, report)]
        if missing:
            names = [source.name for part in dataset.parts.values() for source in part]
            with working_room(output, names) as room, Server(waits) as server:
                _make(missing, output, room, server, address, keep_zips, report)
    return report


def _make(
    missing: Sequence[Archive | Table],
    output: Path,
    room: Path,
    server: Server,
    address: str,
    keep_zips: bool,
    report: Downloaded,
) -> None:
    tasks = [_task(source, output, room, server, f"{address}/{source.name}") for source in missing]
    check_free(output, room_for(tasks), "for the files and what is unpacked of them")
    for task in tasks:
        path = task.local or _fetch(task.source, room, server, f"{address}/{task.source.name}")
        if isinstance(task.source, Table):
            _put_table(task.source, path, output, report)
        else:
            _put_folder(task.source, path, output, room, keep_zips, report)


def _is_missing(output: Path, source: Archive | Table, report: Downloaded) -> bool:
    """Whether a file is to be fetched; what is there has to be whole.

    Raises:
        UserError: it is not.
    """
    if isinstance(source, Table):
        place = output / source.name
        there = place.exists()
        wrong = there and tables.what_is_wrong(place, source.columns)
    else:
        place = output / source.folder
        there = place.exists() and not (place.is_dir() and not any(place.iterdir()))
        wrong = there and unpacking.what_is_wrong(place, source.sha256)
    if wrong:
        raise UserError(f"{place}: {wrong}: move it away and run again, or leave it out with --only")
    if there:
        report.kept.append(place.name)
    return not there


def _task(source: Archive | Table, output: Path, room: Path, server: Server, url: str) -> Task:
    if isinstance(source, Archive):
        for path in (room / source.name, output / source.name):
            if path.is_file() and pooch.file_hash(str(path)) == source.sha256:
                return Task(source, path, 0, _content_size(path))
        if (output / source.name).exists():
            raise UserError(
                f"{output / source.name}: is another file than the published one: move it away and run again"
            )
    remote = server.describe(url)
    have = Part(room / source.name).keep_only_of(remote)
    content = None
    if isinstance(source, Archive) and remote.size:
        # Not for small files, which would come twice.
        length = min(_END, remote.size // 8)
        content = unpacked_size(remote.size, server.end_of(url, remote.size, length))
    return fetching(source, remote.size, have, content)


def _content_size(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except zipfile.BadZipFile:
        return 0  # told when it is unpacked


def _fetch(source: Archive | Table, room: Path, server: Server, url: str) -> Path:
    """Fetch a file into the working room and check its checksum where one is known."""
    part = Part(room / source.name)
    known = f"sha256:{source.sha256}" if isinstance(source, Archive) else None
    (room / source.name).unlink(missing_ok=True)
    try:
        pooch.retrieve(url, known, fname=source.name, path=room, downloader=ResumingDownloader(server, part))
    except ValueError as error:
        part.forget()
        raise UserError(
            f"{url}: what came is another file than the published one (wrong SHA-256) and was deleted: run "
            "again, and if that does not help check the address (--base_url)"
        ) from error
    part.forget()
    return room / source.name


def _put_table(source: Table, path: Path, output: Path, report: Downloaded) -> None:
    wrong = tables.what_is_wrong(path, source.columns)
    if wrong:
        path.unlink()
        raise UserError(
            f"{source.name}: what came {wrong} and was deleted: run again, and if that does not help check "
            "the address (--base_url)"
        )
    size = path.stat().st_size
    os.replace(path, output / source.name)
    report.made.append(f"{source.name}: {in_words(size)}")


def _put_folder(
    source: Archive, path: Path, output: Path, room: Path, keep_zips: bool, report: Downloaded
) -> None:
    own = path.parent == room
    try:
        members = unpacking.unpack(path, output / source.folder, room, source.sha256)
    except BadArchive:
        if own:
            path.unlink()
        raise
    report.made.append(f"{source.folder}: {len(members.files)} files, {in_words(members.size)}")
    if members.left_out:
        example = members.left_out[0]
        report.notes.append(
            f"{source.name}: {len(members.left_out)} hidden files were left out, {example} for example"
        )
    if own and keep_zips:
        os.replace(path, output / source.name)
    elif own:
        path.unlink()


@contextmanager
def _one_line_if_not_usable(output: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cause = error.strerror or error
        raise UserError(
            f"{output}: cannot be written ({cause}): make it writable or choose another folder"
        ) from error
