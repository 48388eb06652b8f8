"""Find the scans at a path: files, DICOM exams, zips of exams, and folders of all these; and their files."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath
from typing import NamedTuple

from ..errors import UserError
from ..files import digest
from ..text import reason_of
from .bids import images_in, is_dataset
from .dicom import in_zip
from .dicom_files import image_class, study_of
from .itk import read_header
from .scan import ENDINGS, ZIP, Kind, Refusal, ScanSource, ending_of, files_below, folders_below

MadeIn = Callable[[Path], Collection[str]]
"""Names of the files in a folder that are results, not scans."""

MOST_BYTES = 150  # of a name: file systems take it with any ending and the suffix of an unfinished file
# Endings of volumes in formats that are not read. Files such as `.raw` are parts of scans that are.
_OTHER_IMAGES = (
    *(".hdr", ".img", ".hdr.gz", ".img.gz"),  # Analyze, and NIfTI in two files
    *(".nii.bz2", ".nii.xz", ".nii.zst", ".nii.lz4", ".mnc", ".mgz", ".mgh", ".par", ".rec"),
    *(".head", ".brik", ".brik.gz", ".mif", ".mif.gz", ".mih", ".gipl", ".gipl.gz", ".vti", ".vtk"),
)
_READ = f"supported are {', '.join(ENDINGS)} files, DICOM exams (folders) and zips of them"
_RESULTS = "of an earlier run; give the scan that it was made from"
_DIGITS = 10


class FoundScans(NamedTuple):
    """The scans at a path, and paths in it of what could be scans in other formats, and zips without one."""

    scans: list[ScanSource]  # with different names (see `unique_names`), sorted by name
    passed_over: list[str]  # sorted; none in exams


def look_for_scans(path: Path, made_in: MadeIn = lambda folder: ()) -> FoundScans:
    """List the scans at a path: a file, a DICOM exam, a zip of one, or a folder of any of these.

    A folder that holds DICOM images at any depth and no scan file or zip of DICOM images is one exam. If its
    subfolders hold different studies (StudyInstanceUID), each study is one. Hidden files and folders are
    skipped, links are followed, and every folder is listed once.

    In the root of a BIDS dataset, the scans are its anatomical images, with their names in the dataset.

    Args:
        made_in: called for every folder; the files that it names are skipped, too.

    Raises:
        UserError: no scan, scan files and DICOM images in the same folder, or two scans of the same name.
    """
    if path.is_dir() and is_dataset(path):
        return _in_dataset(path)
    if path.is_dir():
        folders = [_look_into(place, files, made_in(place)) for place, files in folders_below(path)]
        found = list(_in_folders(folders))
        if not found and any(one.has_results for one in folders):
            raise UserError(path, f"holds no scan, only results {_RESULTS}")
        exams = {place for place, kind in found if kind == "dicom"}
        outside = (one for one in folders if exams.isdisjoint((one.path, *one.path.parents)))
        others = sorted(str(file.relative_to(path)) for one in outside for file in one.others)
        return FoundScans(_named(path, found), others)
    if not path.exists():
        raise UserError(path, "no such file or folder")
    if path.name in made_in(path.parent):
        raise UserError(path, f"is a result {_RESULTS}")
    kind = _kind(path) or ("dicom" if study_of(path) is not None else None)
    if kind is None:
        raise UserError(path, "is not a scan", _READ)
    return FoundScans(_named(path.parent, [(path, kind)]), [])


def find_scans(path: Path, made_in: MadeIn = lambda folder: ()) -> list[ScanSource]:
    """List the scans at a path: a file, a DICOM exam, a zip of one, or a folder of any of these.

    Args:
        path: where to look. Folders are searched at any depth, see `look_for_scans`.
        made_in: returns the names of the results in a folder, which are skipped.

    Returns:
        Scans with different names, sorted by name.

    Raises:
        UserError: no scan was found, a folder holds both scan files and DICOM images, or two scans would have
            the same name.

    Examples:
        >>> from nnunetv2_spinesegdiff import example_scans
        >>> [source.name for source in find_scans(example_scans()[0].parent)]
        ['81_t1', '81_t2']
    """
    return look_for_scans(path, made_in).scans


def _in_dataset(dataset: Path) -> FoundScans:
    images, others = images_in(dataset, _OTHER_IMAGES)
    names = [file.name.removesuffix(ending_of(file.name)) for file in images]
    possible = unique_names([PurePath(file.name) for file in images])
    for file, name, unique in zip(images, names, possible, strict=True):
        if name != unique:
            cause = "has no name of its own, as results do not keep the ending, or its name is too long"
            raise UserError(file, cause, "rename it or remove the other one")
    sources = [ScanSource(name, file, "file") for name, file in zip(names, images, strict=True)]
    return FoundScans(sorted(sources, key=lambda source: source.name), others)


class _Folder(NamedTuple):
    """Content of a folder without subfolders: scan files, zips of exams, DICOM images, possible scans."""

    path: Path
    scans: list[tuple[Path, Kind]]
    first_image: Path | None
    study: str
    others: set[Path]
    has_results: bool


def _look_into(path: Path, all_files: Sequence[Path], results: Collection[str]) -> _Folder:
    files = [file for file in all_files if file.name not in results]
    scans = {file: kind for file in files if (kind := _kind(file))}
    plain = (file for file in files if not ending_of(file.name))
    images = ((file, study) for file in plain if (study := study_of(file)) is not None)
    first_image, study = next(images, (None, ""))
    study = study or next((other for _, other in images if other), "")
    others = {file for file in files if file.name.lower().endswith((*_OTHER_IMAGES, ZIP))} - set(scans)
    return _Folder(path, list(scans.items()), first_image, study, others, len(files) < len(all_files))


def _in_folders(folders: Sequence[_Folder]) -> Iterator[tuple[Path, Kind]]:
    """The scans in folders, every one of which comes before those in it."""
    with_scans = {place for one in folders if one.scans for place in (one.path, *one.path.parents)}
    studies = defaultdict[Path, set[str]](set)
    for one in folders:
        for place in (one.path, *one.path.parents) if one.first_image else ():
            studies[place].add(one.study)
    in_exam = set[Path]()
    for one in folders:
        if one.path.parent in in_exam and one.path not in with_scans:
            in_exam.add(one.path)  # below DICOM images, further ones are of the same exam
            continue
        if one.scans and one.first_image:
            cause = f"holds scan files ({one.scans[0][0].name}) and DICOM images ({one.first_image.name})"
            raise UserError(one.path, cause, "move the DICOM images into a folder of their own")
        if one.first_image or (one.path not in with_scans and len(studies[one.path]) == 1):
            in_exam.add(one.path)
            yield one.path, "dicom"
        yield from one.scans


def _kind(path: Path) -> Kind | None:
    """Return the kind of a scan file; None for other files, single DICOM images and zips without an image."""
    ending = ending_of(path.name).lower()
    if ending != ZIP:
        return "file" if ending else None
    with suppress(Exception), zipfile.ZipFile(path) as archive:  # the reader reports damage
        if all(image_class(stream) is None for *_, stream in in_zip(archive)):
            return None
    return "dicom_zip"


def _named(root: Path, found: list[tuple[Path, Kind]]) -> list[ScanSource]:
    if not found:
        raise UserError(root, "holds no scan", _READ)
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

    Raises:
        UserError: two paths have the same name even with their endings.
    """
    with_ending: set[int] = set()
    while True:
        names = [_name(path, number in with_ending) for number, path in enumerate(paths)]
        folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
        counts = Counter(folded)
        equal = [number for number, name in enumerate(folded) if counts[name] > 1]
        if not equal:
            return names
        if with_ending.issuperset(equal):
            first, second, *_ = (paths[k] for k in equal if folded[k] == folded[equal[0]])
            same = "their results would have the same name"
            raise UserError(f"{first} and {second}", same, "rename one of them")
        with_ending.update(equal)


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

    Neither folder nor times count. With a header, the file with its voxels counts; if they are in several
    files, all files in the folder do.
    """
    path = source.path
    root, files = (path, files_below(path)) if path.is_dir() else (path.parent, [path])
    if path.name.lower().endswith((".mhd", ".nhdr")):
        with suppress(Refusal, OSError, ValueError):  # the reader reports it
            voxels = read_header(path).data
            files = [path, voxels] if voxels else [file for file in root.iterdir() if file.is_file()]
    contents = []
    for file in files:
        try:
            contents.append([os.path.relpath(file, root), digest(file)])
        except OSError as error:
            contents.append([os.path.relpath(file, root), reason_of(error)])
    return sorted(contents)
