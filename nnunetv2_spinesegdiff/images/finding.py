"""Find the scans at a path: files, DICOM exams, zips of exams, and folders of all these; and their files."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath

from ..errors import UserError
from ..files import digest
from .dicom import files_below, zipped_images
from .dicom_files import holds_dicom, may_be_image, read_slices, start_of
from .itk import read_header
from .scan import ENDINGS, ZIP, Kind, Refusal, ScanSource, ending_of

MadeIn = Callable[[Path], Collection[str]]
"""Names of the files in a folder that are results, not scans."""

MOST_BYTES = 150
"""Of a scan's name, so that a file system takes it with any ending and the suffix of an unfinished file."""

_OTHER_IMAGES = (
    *(".hdr", ".img", ".hdr.gz", ".img.gz"),  # Analyze, and NIfTI in two files
    *(".nii.bz2", ".nii.xz", ".nii.zst", ".nii.lz4", ".mnc", ".mgz", ".mgh", ".par", ".rec"),
    *(".head", ".brik", ".brik.gz", ".mif", ".mif.gz", ".mih", ".gipl", ".gipl.gz", ".vti", ".vtk"),
)
"""Of volumes in formats that are not read. Files such as `.raw` are parts of scans that are."""
_READ = f"supported are {', '.join(ENDINGS)} files, DICOM exams (folders) and zips of them"
_RESULTS = "of an earlier run; give the scan that it was made from"
_DIGITS = 10


@dataclass(frozen=True)
class FoundScans:
    """The scans at a path.

    Attributes:
        scans: sources with different names (see `unique_names`), sorted by name.
        passed_over: files outside of exams that could be scans in other formats, and zips without a DICOM
            image, as paths in the folder, sorted.
    """

    scans: list[ScanSource]
    passed_over: list[str] = field(default_factory=list)


def look_for_scans(path: Path, made_in: MadeIn = lambda folder: ()) -> FoundScans:
    """List the scans at a path. Headers are read only as far as needed for the list.

    A folder that holds DICOM images at any depth and no scan file or zip of DICOM images is one exam. If its
    subfolders hold different studies (StudyInstanceUID), each study is one. Hidden files and folders are
    skipped, links are followed, and every folder is listed once.

    Args:
        path: a scan file (any case of its ending), a DICOM image, an exam, a zip of an exam, or a folder of
            any of these.
        made_in: called for every folder; the files that it names are skipped, too.

    Raises:
        UserError: there is nothing, no scan or only results, scan files and DICOM images are in the same
            folder, or two scans have the same name.
    """
    if path.is_dir():
        tree = _tree(path, made_in)
        found = list(_in_folder(tree))
        if not found and any(folder.results for folder in tree.all()):
            raise UserError(f"{path}: holds no scan, only results {_RESULTS}")
        exams = {place for place, kind in found if kind == "dicom"}
        outside = (one for one in tree.all() if exams.isdisjoint((one.path, *one.path.parents)))
        others = sorted(str(file.relative_to(path)) for folder in outside for file in folder.others)
        return FoundScans(_named(path, found), others)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.name in made_in(path.parent):
        raise UserError(f"{path}: is a result {_RESULTS}")
    kind = _kind(path) or ("dicom" if _may_be_dicom(path) else None)
    if kind is None:
        raise UserError(f"{path}: is not a scan; {_READ}")
    return FoundScans(_named(path.parent, [(path, kind)]))


def find_scans(path: Path, made_in: MadeIn = lambda folder: ()) -> list[ScanSource]:
    """Only the scans of `look_for_scans`, with the same errors."""
    return look_for_scans(path, made_in).scans


@dataclass
class _Folder:
    """A folder with all that is not hidden in it, results apart."""

    path: Path
    results: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    folders: list[_Folder] = field(default_factory=list)

    @cached_property
    def scans(self) -> list[tuple[Path, Kind]]:
        """Scan files and zips of exams in the folder itself."""
        return [(file, kind) for file in self.files if (kind := _kind(file)) is not None]

    @cached_property
    def dicom(self) -> Path | None:
        """The first DICOM image in the folder itself."""
        return next(filter(_may_be_dicom, self.files), None)

    @cached_property
    def study(self) -> str:
        """The study of the first DICOM image with a readable header in the folder itself."""
        images = (file for file in self.files if may_be_image(start_of(file)))
        slices = (one for file in images for one in read_slices(file, file.name))
        return next((one.series.study for one in slices), "")

    @property
    def others(self) -> list[Path]:
        """Files that could be scans, but are not read."""
        scans = {path for path, _ in self.scans}
        likely = (file for file in self.files if file.name.lower().endswith((*_OTHER_IMAGES, ZIP)))
        return [file for file in likely if file not in scans]

    def all(self) -> Iterator[_Folder]:
        """The folder itself and those in it, at any depth."""
        yield self
        for folder in self.folders:
            yield from folder.all()

    def holds_scans(self) -> bool:
        """Whether there is a scan file or a zip of DICOM images at any depth."""
        return any(folder.scans for folder in self.all())


def _tree(root: Path, made_in: MadeIn) -> _Folder:
    """The folder's content. If links lead to a folder, too, it is listed at its place without links."""
    tree = _Folder(root)
    seen = {_identity(root)}
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
        try:
            paths = sorted(folder.path / name for name in os.listdir(folder.path) if name[0] != ".")
        except OSError as error:
            raise UserError(
                f"{folder.path}: cannot be listed ({error.strerror}); make it readable"
            ) from error
        for path in paths:
            if not path.is_dir():
                (folder.results if path.name in results else folder.files).append(path)
            elif path.is_symlink():
                links.append((folder, path))
            else:
                seen.add(_identity(path))
                folder.folders.append(_Folder(path))
                waiting.append(folder.folders[-1])
    return tree


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _in_folder(folder: _Folder) -> Iterator[tuple[Path, Kind]]:
    if folder.scans and folder.dicom is not None:
        raise UserError(
            f"{folder.path}: holds scan files ({folder.scans[0][0].name}) and DICOM images "
            f"({folder.dicom.name}); move the DICOM images into a folder of their own"
        )
    one_exam = not folder.holds_scans() and len({one.study for one in folder.all() if one.dicom}) == 1
    if folder.dicom is not None or one_exam:
        yield folder.path, "dicom"
    yield from folder.scans
    for inner in folder.folders:
        # Below DICOM images, further ones are of the same exam.
        if not one_exam and (folder.dicom is None or inner.holds_scans()):
            yield from _in_folder(inner)


def _kind(path: Path) -> Kind | None:
    """What a file is by its name; None for DICOM images, too, and for zips without one."""
    ending = ending_of(path.name).lower()
    if ending != ZIP:
        return "file" if ending else None
    try:
        with zipfile.ZipFile(path) as archive:
            return "dicom_zip" if any(True for _ in zipped_images(archive)) else None
    except Exception:  # zipfile raises many for damaged ones
        return "dicom_zip"  # is listed, and reported when it is read


def _may_be_dicom(path: Path) -> bool:
    return not ending_of(path.name) and holds_dicom(path)


def _named(root: Path, found: list[tuple[Path, Kind]]) -> list[ScanSource]:
    if not found:
        raise UserError(f"{root}: holds no scan; {_READ}")
    relative = [path.relative_to(root) if path != root else Path(path.resolve().name) for path, _ in found]
    names = unique_names(relative)
    sources = [ScanSource(name, path, kind) for name, (path, kind) in zip(names, found, strict=True)]
    return sorted(sources, key=lambda source: source.name)


def unique_names(paths: Sequence[PurePath]) -> list[str]:
    """Return a name for each path: its parts joined with "_", without the ending of a scan file or a zip.

    If names would be equal, their endings stay: `a.mha` and `a.nii.gz` become `a_mha` and `a_nii_gz`. Names
    that differ only in case, or in how accents are encoded, count as equal: some file systems do not
    distinguish them. Leading dots, which would hide the results, are removed, bytes that are not UTF-8 are
    replaced, and the end of a name above `MOST_BYTES` is replaced by digits of the whole name's SHA-256.

    Args:
        paths: relative to a common folder.

    Raises:
        UserError: two paths have the same name even with their endings.
    """
    with_ending: set[int] = set()
    while True:
        names = [_name(path, number in with_ending) for number, path in enumerate(paths)]
        folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
        counts = Counter(folded)
        equal = [number for number, name in enumerate(folded) if counts[name] > 1]
        if with_ending.issuperset(equal):
            break
        with_ending.update(equal)
    if equal:
        first, second, *_ = (paths[k] for k in equal if folded[k] == folded[equal[0]])
        raise UserError(f"{first} and {second}: their results would have the same name; rename one of them")
    return names


def _name(path: PurePath, with_ending: bool) -> str:
    joined = "_".join(path.parts)
    ending = ending_of(joined)
    stem = joined.removesuffix(ending) + (ending.replace(".", "_") if with_ending else "")
    name = os.fsencode(stem).decode("utf-8", "replace").lstrip(".") or "scan"
    encoded = name.encode()
    if len(encoded) <= MOST_BYTES:
        return name
    start = encoded[: MOST_BYTES - _DIGITS - 1].decode("utf-8", "ignore")
    return f"{start}-{hashlib.sha256(encoded).hexdigest()[:_DIGITS]}"


def contents_of(source: ScanSource) -> list[list[str]]:
    """Return the name and SHA-256 of every file of a scan, sorted; for an unreadable file, the cause instead.

    Neither folder nor times count: a scan that was moved is the same, and another patient's scan of the same
    name, size and time is not. With a header, the file with its voxels counts; if they are in several files,
    all files in the folder do.
    """
    root = source.path if source.path.is_dir() else source.path.parent
    contents = []
    for file in _files(source.path):
        try:
            content = digest(file)
        except OSError as error:
            content = f"{error.strerror or error}"
        contents.append([os.path.relpath(file, root), content])
    return sorted(contents)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return list(files_below(path))
    if not path.name.lower().endswith((".mhd", ".nhdr")):
        return [path]
    try:
        voxels = read_header(path).data
    except (Refusal, OSError, ValueError):
        return [path]  # the reader reports it
    return [path, voxels] if voxels else [file for file in path.parent.iterdir() if file.is_file()]
