"""`spinesegdiff download`: a published dataset in a folder that `convert` reads."""

from __future__ import annotations

import csv
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pooch

from ..errors import UserError, writing
from ..images.zips import BadArchive
from ..locks import held
from .datasets import SPIDER, Archive, Dataset, Table
from .fetching import WAITS, ResumingDownloader, Server
from .unpacking import find_fault, unpack, unpacked_size

ROOM = ".download"
"""Folder in the output for partial files; deleted when all files are complete."""
_LOCK = "lock"
_LENGTH_OF_END = 128 << 10
_ADVICE = "run again, and check the address (--base_url) if that does not help"


@dataclass
class Downloaded:
    """Result of a download.

    Attributes:
        folder: the output folder.
        made: one line for each new file or folder.
        kept: names of files and folders that were complete before.
        notes: further information for the user.
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
    """Download, check and unpack a dataset; for SPIDER `images`, `masks` and two tables.

    Complete files are not downloaded again, and partial downloads are continued. Existing folders and files
    are never replaced: an incomplete one raises an error before anything is downloaded.

    Args:
        output: folder, created if missing.
        only: names of the parts to download; all if empty.
        base_url: address of the files, instead of `dataset.base_url`.
        keep_zips: keep the zips next to the folders. Zips that were there before are always kept.
        dataset: to download.
        waits: seconds before each further attempt after a failed connection.

    Raises:
        UserError: the folder cannot be written or holds something else, a server cannot be reached or lacks a
            file, a checksum is wrong (the file is deleted), or the disk is too small. Folders and tables are
            complete or missing, and the same call continues.
    """
    output = Path(output)
    report = Downloaded(output)
    if unknown := [name for name in only if name not in dataset.parts]:
        raise UserError(unknown[0], "unknown part", f"choose from {', '.join(dataset.parts)}")
    pooch.get_logger().setLevel(logging.WARNING)  # the progress bars inform the user
    with writing(output, "free some space or make it writable, then run the same command again"):
        sources = [s for name, part in dataset.parts.items() if not only or name in only for s in part]
        missing = [source for source in sources if not _is_complete(source, output, report)]
        if missing:
            names = [source.name for part in dataset.parts.values() for source in part]
            with _room(output, names) as room, Server(waits) as server:
                transfer = _Transfer(output, room, server, (base_url or dataset.base_url).rstrip("/"), report)
                _check_space(output, sum(map(transfer.space_needed, missing)))
                for source in missing:
                    transfer.run(source, keep_zips)
    return report


@dataclass(frozen=True)
class _Transfer:
    """Downloads of missing files into an output folder.

    Attributes:
        output, room: the output folder, and the folder in it for partial files.
        server, address: where the files are.
        report: to which results are added.
        local: name to path of zips that are complete but not unpacked.
    """

    output: Path
    room: Path
    server: Server
    address: str
    report: Downloaded
    local: dict[str, Path] = field(default_factory=dict)

    def space_needed(self, source: Archive | Table) -> int:
        """Return the free bytes that a file and its unpacked content still need.

        Raises:
            UserError: the server cannot be reached or lacks the file, or another file has its name.
        """
        if isinstance(source, Archive) and self._is_local(source):
            with suppress(zipfile.BadZipFile), zipfile.ZipFile(self.local[source.name]) as archive:
                return sum(entry.file_size for entry in archive.infolist())
            return 0  # the error is reported when the zip is unpacked
        url = f"{self.address}/{source.name}"
        remote = self.server.describe(url)
        size = source.about_bytes if remote.size is None else remote.size
        rest = max(0, size - ResumingDownloader(self.server, self.room / source.name).keep_only(remote))
        if isinstance(source, Table):
            return rest
        content = None
        if remote.size:
            length = min(_LENGTH_OF_END, remote.size // 8)  # of a small file, less: it would come twice
            content = unpacked_size(remote.size, self.server.last_bytes(url, remote.size, length))
        return rest + (round(size * source.unpacks_to) if content is None else content)

    def run(self, source: Archive | Table, keep_zips: bool) -> None:
        """Download, check and unpack a file.

        Raises:
            UserError: see `download`.
        """
        if isinstance(source, Archive):
            zipped = self.local.get(source.name) or self._fetch(source, source.sha256)
            self._make_folder(source, zipped, keep_zips)
            return
        path = self._fetch(source, None)
        if fault := find_fault_of_table(path, source.columns):
            path.unlink()
            raise UserError(source.name, f"the downloaded file {fault} and was deleted", _ADVICE)
        self.report.made.append(f"{source.name}: {format_size(path.stat().st_size)}")
        os.replace(path, self.output / source.name)

    def _is_local(self, source: Archive) -> bool:
        """Return whether the zip is here already. Raises UserError if another file has its name."""
        for path in (self.room / source.name, self.output / source.name):
            if path.is_file() and pooch.file_hash(str(path)) == source.sha256:
                self.local[source.name] = path
                return True
        if (other := self.output / source.name).exists():
            raise UserError(other, "differs from the published file", "move it away and run again")
        return False

    def _fetch(self, source: Archive | Table, sha256: str | None) -> Path:
        path, url = self.room / source.name, f"{self.address}/{source.name}"
        downloader = ResumingDownloader(self.server, path)
        path.unlink(missing_ok=True)
        try:
            pooch.retrieve(
                url, sha256 and f"sha256:{sha256}", fname=source.name, path=self.room, downloader=downloader
            )
        except ValueError as error:
            downloader.forget()
            cause = "differs from the published file (wrong SHA-256) and was deleted"
            raise UserError(url, cause, _ADVICE) from error
        downloader.forget()
        return path

    def _make_folder(self, source: Archive, zipped: Path, keep_zips: bool) -> None:
        downloaded = zipped.parent == self.room
        try:
            members = unpack(zipped, self.output / source.folder, self.room, source.sha256)
        except BadArchive:
            if downloaded:
                zipped.unlink()
            raise
        self.report.made.append(f"{source.folder}: {len(members.files)} files, {format_size(members.size)}")
        if hidden := members.hidden:
            self.report.notes.append(
                f"{source.name}: {len(hidden)} hidden files were skipped, for example {hidden[0]}"
            )
        if downloaded and keep_zips:
            os.replace(zipped, self.output / source.name)
        elif downloaded:
            zipped.unlink()


def _is_complete(source: Archive | Table, output: Path, report: Downloaded) -> bool:
    """Return whether a file or folder is here already. Raises UserError if it is there but incomplete."""
    if isinstance(source, Table):
        place = output / source.name
        exists = place.exists()
        fault = find_fault_of_table(place, source.columns) if exists else ""
    else:
        place = output / source.folder
        exists = place.is_file() or (place.is_dir() and any(place.iterdir()))
        fault = find_fault(place, source.sha256) if exists else ""
    if fault:
        raise UserError(place, fault, "move it away and run again, or leave it out with --only")
    if exists:
        report.kept.append(place.name)
    return exists


def find_fault_of_table(path: Path, columns: Sequence[str]) -> str:
    """Return why a file is not the complete table; empty if nothing is wrong.

    Without a published checksum the file is checked for UTF-8, the columns, at least one row, and rows of the
    same length. That rejects an error page, and a file that ends within a row.

    Args:
        path: the file.
        columns: required columns, in any case.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except (UnicodeDecodeError, csv.Error):
        return "is not a CSV file"
    header = rows[0] if rows else []
    known = {name.strip().lower() for name in header}
    if lacking := [name for name in columns if name.lower() not in known]:
        return f"has no column {lacking[0]!r}"
    if len(rows) < 2:
        return "has no rows"
    broken = [number for number, row in enumerate(rows, 1) if len(row) != len(header)]
    return f"is truncated or damaged in row {broken[0]}" if broken else ""


def format_size(size: int) -> str:
    """Return a size in bytes as text: `3.7 GB`, `119.4 kB`, `12 bytes`."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        needs = f"{format_size(needed)} are needed, with the unpacked content"
        cause = f"{needs}, and {format_size(free)} are free"
        raise UserError(folder, cause, "free some space or choose another folder")


@contextmanager
def _room(output: Path, names: Sequence[str]) -> Iterator[Path]:
    """Create the folder for partial files, locked for this process; delete it, and a new output, if empty.

    Args:
        output: folder, created if missing.
        names: of files whose downloads are kept if the process is killed.

    Raises:
        UserError: another process downloads into `output`.
        OSError: `output` cannot be written.
    """
    new, room = not output.exists(), output / ROOM
    room.mkdir(parents=True, exist_ok=True)
    useful = {_LOCK, *(f"{name}{ending}" for name in names for ending in ("", ".part", ".part.json"))}
    busy = UserError(output, "another process is downloading into it", "wait for it")
    with held(room / _LOCK, busy):
        try:
            for path in room.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in useful:
                    path.unlink()
            yield room
        finally:
            with suppress(OSError):  # Windows deletes it when it is released
                (room / _LOCK).unlink()
            for folder in (room, output) if new else (room,):
                with suppress(OSError):  # it holds files
                    folder.rmdir()
