"""Which scans lie at a path: files, DICOM exams, zips of them, and folders of all these."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..errors import UserError
from .dicom_files import holds_dicom, is_dicom, read_header, start_of
from .dicom_zip import holds_dicom_image
from .endings import ENDINGS, ZIP, ending_of, is_other_image, is_scan_file
from .itk import is_utf8
from .names import unique_names
from .scan import Kind, ScanSource

MadeIn = Callable[[Path], Collection[str]]
"""Names of the files in a folder that are results and no scans."""

_READ = f"read are {', '.join(ENDINGS)} files, DICOM exams (folders) and zips of them"


@dataclass(frozen=True)
class FoundScans:
    """What lies at a path.

    Attributes:
        scans: sources whose names are different: the path relative to the folder, its parts joined with "_",
            without the ending; where names would be equal with it (see `unique_names`). Sorted by name.
        passed_over: files that could be scans in other formats and zips without a DICOM image, outside of
            exams, by their path below the folder, sorted.
    """

    scans: list[ScanSource]
    passed_over: list[str] = field(default_factory=list)


def look_for_scans(path: Path, made_in: MadeIn = lambda folder: ()) -> FoundScans:
    """List the scans at a path. Headers are looked at only as far as needed for the list.

    A folder that holds DICOM images at any depth and no scan file or zip of DICOM images is one exam. Where
    its subfolders hold different studies (StudyInstanceUID), each study is one. Hidden files and folders are
    passed over, links are followed, and every folder is listed once.

    Args:
        path: a scan file (any case of its ending), a DICOM image, an exam, a zip of an exam, or a folder of
            any of these.
        made_in: asked of every folder; the files that it names are passed over, too.

    Raises:
        UserError: there is nothing, there is no scan or only results, scan files and DICOM images lie in one
            folder, or two scans have the same name.
    """
    if path.is_dir():
        return _in_tree(_tree(path, made_in))
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.name in made_in(path.parent):
        raise UserError(f"{path}: is the result of an earlier run; give the scan that it was made of")
    kind = _kind_of_file(path)
    if kind is None:
        raise UserError(f"{path}: is no scan; {_READ}")
    return FoundScans(_named(path.parent, [(path, kind)]))


def find_scans(path: Path, made_in: MadeIn = lambda folder: ()) -> list[ScanSource]:
    """Only the scans of `look_for_scans`, with the same errors."""
    return look_for_scans(path, made_in).scans


@dataclass
class _Folder:
    """A folder with all that is not hidden below it, results apart."""

    path: Path
    results: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    folders: list[_Folder] = field(default_factory=list)

    @cached_property
    def scans(self) -> list[tuple[Path, Kind]]:
        """Scan files and zips that lie in the folder itself."""
        found: list[tuple[Path, Kind]] = []
        for file in self.files:
            if is_scan_file(file.name):
                found.append((file, "file"))
            elif ending_of(file.name).lower() == ZIP and _may_hold_an_exam(file):
                found.append((file, "dicom_zip"))
        return found

    @cached_property
    def dicom(self) -> Path | None:
        """The first DICOM image in the folder itself."""
        others = (file for file in self.files if not ending_of(file.name))
        return next(filter(holds_dicom, others), None)

    @cached_property
    def holds_scans(self) -> bool:
        """Whether there is a scan file or a zip of DICOM images at any depth."""
        return bool(self.scans) or any(folder.holds_scans for folder in self.folders)

    @property
    def holds_results(self) -> bool:
        """Whether there is a result of an earlier run at any depth."""
        return bool(self.results) or any(folder.holds_results for folder in self.folders)

    @cached_property
    def studies(self) -> set[str]:
        """The study of the first DICOM image of every folder, at any depth."""
        own = set() if self.dicom is None else {_study_of(self.files)}
        return own.union(*(folder.studies for folder in self.folders))


def _in_tree(tree: _Folder) -> FoundScans:
    found = list(_in_folder(tree))
    if not found and tree.holds_results:
        raise UserError(
            f"{tree.path}: holds no scan, only results of an earlier run; give the scans they were made of"
        )
    exams = {path for path, kind in found if kind == "dicom"}
    others = sorted(str(file.relative_to(tree.path)) for file in _passed_over(tree, exams))
    return FoundScans(_named(tree.path, found), others)


def _passed_over(folder: _Folder, exams: Collection[Path]) -> Iterator[Path]:
    if folder.path in exams:
        return
    scans = {path for path, _ in folder.scans}
    for file in folder.files:
        if file not in scans and (is_other_image(file.name) or ending_of(file.name).lower() == ZIP):
            yield file
    for inner in folder.folders:
        yield from _passed_over(inner, exams)


def _tree(root: Path, made_in: MadeIn) -> _Folder:
    """The folder's content. Of a folder that links lead to, too, the place without links counts."""
    seen = {_identity(root)}
    tree = _Folder(root)
    waiting, links = [tree], list[tuple[_Folder, Path]]()
    while waiting or links:
        if waiting:
            folder = waiting.pop()
        else:
            parent, path = links.pop(0)
            folder = _Folder(path)
            if _identity(path) in seen:
                continue
            seen.add(_identity(path))
            parent.folders.append(folder)
        results = made_in(folder.path)
        for path in sorted(_visible(folder.path)):
            if not path.is_dir():
                (folder.results if path.name in results else folder.files).append(path)
            elif path.is_symlink():
                links.append((folder, path))
            else:
                seen.add(_identity(path))
                folder.folders.append(_Folder(path))
                waiting.append(folder.folders[-1])
    return tree


def _visible(folder: Path) -> Iterator[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be listed ({error.strerror}); make it readable") from error
    return (folder / entry.name for entry in entries if not entry.name.startswith("."))


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _in_folder(folder: _Folder) -> Iterator[tuple[Path, Kind]]:
    if not folder.holds_scans:
        yield from _exams(folder)
        return
    if folder.scans and folder.dicom is not None:
        raise UserError(
            f"{folder.path}: holds scan files ({folder.scans[0][0].name}) and DICOM images "
            f"({folder.dicom.name}) side by side; move the DICOM images into a folder of their own"
        )
    if folder.dicom is not None:
        yield folder.path, "dicom"
    yield from folder.scans
    for inner in folder.folders:
        # Below DICOM images, further ones are of the same exam.
        if folder.dicom is None or inner.holds_scans:
            yield from _in_folder(inner)


def _exams(folder: _Folder) -> Iterator[tuple[Path, Kind]]:
    """The exams in a folder without scan files: itself, or what its subfolders hold of different studies."""
    if folder.dicom is not None or len(folder.studies) == 1:
        yield folder.path, "dicom"
    else:
        for inner in folder.folders:
            yield from _exams(inner)


def _study_of(files: list[Path]) -> str:
    images = (file for file in files if is_dicom(start_of(file)) and is_utf8(file))
    headers = (read_header(file, file.name) for file in images)
    return next((header.study for header in headers if header is not None), "")


def _kind_of_file(path: Path) -> Kind | None:
    if is_scan_file(path.name):
        return "file"
    if ending_of(path.name).lower() == ZIP:
        return "dicom_zip" if _may_hold_an_exam(path) else None
    return "dicom" if holds_dicom(path) else None


def _may_hold_an_exam(path: Path) -> bool:
    """A damaged zip may: it is listed, and named when it is to be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return holds_dicom_image(archive)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        return True


def _named(root: Path, found: list[tuple[Path, Kind]]) -> list[ScanSource]:
    if not found:
        raise UserError(f"{root}: holds no scan; {_READ}")
    relative = [path.relative_to(root) if path != root else Path(path.resolve().name) for path, _ in found]
    names = unique_names(relative)
    sources = [ScanSource(name, path, kind) for name, (path, kind) in zip(names, found, strict=True)]
    return sorted(sources, key=lambda source: source.name)
