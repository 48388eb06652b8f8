"""What is left to fetch, and how much room that takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .datasets import Archive, Table


@dataclass(frozen=True)
class Task:
    """A file that is not there yet.

    Attributes:
        source: the file.
        local: where it is whole already, but for being unpacked; else None.
        to_fetch: bytes still to be fetched.
        to_unpack: bytes that its content takes.
    """

    source: Archive | Table
    local: Path | None
    to_fetch: int
    to_unpack: int


def fetching(source: Archive | Table, size: int | None, have: int, unpacked: int | None) -> Task:
    """A task for a file that is on a server.

    Args:
        source: the file.
        size: in bytes, None if unknown: that of the dataset's page is taken.
        have: bytes that are there already.
        unpacked: bytes of an archive's content, None if unknown: an estimate is taken.
    """
    whole = source.about_bytes if size is None else size
    if isinstance(source, Table):
        return Task(source, None, max(0, whole - have), 0)
    content = round(whole * source.unpacks_to) if unpacked is None else unpacked
    return Task(source, None, max(0, whole - have), content)


def room_for(tasks: Iterable[Task]) -> int:
    """Bytes that must be free before the first is begun: zips and their content at the same time."""
    return sum(task.to_fetch + task.to_unpack for task in tasks)
