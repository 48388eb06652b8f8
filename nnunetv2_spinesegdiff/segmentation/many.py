"""Many scans with one model: the next is read and the last one written while one is predicted."""

from __future__ import annotations

import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import SimpleITK as sitk

from ..errors import UserError, writing
from ..images.reading import read_scan, scan_of
from ..images.scan import Scan, ScanSource
from ..text import reason_of
from .model import SliceModel
from .result import Segmentation
from .segment import segment_scan
from .settings import SegmentationSettings

T = TypeVar("T")
_AHEAD = 2
"""Scans in memory before and after the one that is predicted."""


@dataclass(frozen=True)
class ImageInMemory:
    """A scan that the caller has read; not yet examined."""

    source: ScanSource
    image: sitk.Image


@dataclass(frozen=True)
class Failure:
    """A scan that has no result.

    Attributes:
        source: name and path of the scan.
        reason: file, cause and advice in one line.

    Examples:
        >>> from nnunetv2_spinesegdiff import Failure, SpineSegmenter
        >>> with SpineSegmenter(device="cpu", refine=False) as segmenter:
        ...     (result,) = segmenter.segment_each("missing.nii.gz")
        >>> isinstance(result, Failure), result.reason
        (True, 'missing.nii.gz: no such file or folder')
    """

    source: ScanSource
    reason: str


Given = ScanSource | ImageInMemory | Failure
"""A scan, or in its place why there is none."""


def segment_each(
    sources: Iterable[Given],
    model: SliceModel,
    settings: SegmentationSettings,
    scratch: Path,
    write: Callable[[Segmentation], T],
    look: Callable[[ScanSource], object] = lambda source: None,
) -> Iterator[tuple[ScanSource, T | Failure]]:
    """Every scan with what `write` returns for it, in order; whatever is wrong with one, the others go on.

    Args:
        sources: scans, and in the places of some perhaps why there is none.
        scratch: folder for what zips hold; a scan's part of it is gone when the next is asked for.
        write: called in one other thread, one scan after the other.
        look: called for every scan before it is read, in the thread that reads.
    """
    with ThreadPoolExecutor(1, "reading") as reader, ThreadPoolExecutor(1, "writing") as writer:

        def begin(given: Given) -> _Job:
            source = given if isinstance(given, ScanSource) else given.source
            folder = scratch_for_scan(scratch)
            return _Job(source, folder, reader.submit(_read, given, settings, folder, look))

        writing: deque[tuple[_Job, Future[T | Failure]]] = deque()

        def next_written() -> Iterator[tuple[ScanSource, T | Failure]]:
            job, written = writing.popleft()
            yield job.source, written.result()
            shutil.rmtree(job.folder, ignore_errors=True)

        for job in _begun_early(sources, begin):
            scan = job.scan.result()
            done: Segmentation | Failure
            if isinstance(scan, Failure):
                done = scan
            else:
                try:
                    done = segment_scan(scan, settings.slices, model, settings.lowest_disc)
                except Exception as error:
                    done = _failure(job.source, error)
            writing.append((job, writer.submit(_write, job.source, done, write)))
            while writing and (len(writing) > _AHEAD or writing[0][1].done()):
                yield from next_written()
        while writing:
            yield from next_written()


def scratch_for_scan(scratch: Path) -> Path:
    """A folder of its own for what is unpacked of a scan.

    Raises:
        UserError: the disk is full.
    """
    with writing(scratch, "make room"):
        return Path(tempfile.mkdtemp(dir=scratch))


@dataclass(frozen=True)
class _Job:
    source: ScanSource
    folder: Path
    scan: Future[Scan | Failure]


def _begun_early(sources: Iterable[Given], begin: Callable[[Given], _Job]) -> Iterator[_Job]:
    """The jobs in order, each begun while an earlier one is worked on."""
    begun: deque[_Job] = deque()
    for source in sources:
        begun.append(begin(source))
        if len(begun) > _AHEAD:
            yield begun.popleft()
    yield from begun


def _read(
    given: Given, settings: SegmentationSettings, folder: Path, look: Callable[[ScanSource], object]
) -> Scan | Failure:
    if isinstance(given, Failure):
        return given
    source = given if isinstance(given, ScanSource) else given.source
    try:
        if isinstance(given, ImageInMemory):
            return scan_of(given.image, source.name, any_plane=settings.any_plane)
        look(source)
        return read_scan(source, folder, series=settings.series, any_plane=settings.any_plane)
    except Exception as error:
        return _failure(source, error)


def _write(
    source: ScanSource, done: Segmentation | Failure, write: Callable[[Segmentation], T]
) -> T | Failure:
    if isinstance(done, Failure):
        return done
    try:
        return write(done)
    except Exception as error:
        return _failure(source, error)


def _failure(source: ScanSource, error: Exception) -> Failure:
    """Describe why a scan was not segmented. Any error is caught, so that the other scans are segmented."""
    if isinstance(error, UserError):
        return Failure(source, str(error))
    if isinstance(error, MemoryError):
        reason = "there is not enough memory; close other programs, or crop it"
    elif isinstance(error, OSError):  # scans are read with errors of their own, so this is the writing
        where = f" ({error.filename})" if error.filename else ""
        reason = f"its results cannot be written: {reason_of(error)}{where}; make room and run again"
    else:
        reason = f"failed ({reason_of(error, with_type=True)}); please report it with this line"
    return Failure(source, f"{source.path}: {reason}")
