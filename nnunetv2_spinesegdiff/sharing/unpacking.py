"""Unpack the zip of a model, if every byte of it is what its manifest states."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import ZIP_STORED, ZipFile

from ..errors import UserError
from ..images import zips
from ..text import reason_of
from .manifest import MANIFEST, PLANS, Manifest

MOST_TEXT = 16 * 2**20  # bytes of a manifest, a card or a JSON file; ours have a thousandth of that


def unpack(path: Path, target: Path) -> tuple[Path, Manifest]:
    """Write the files of an exported model to an empty folder, which may hold a part of a rejected zip.

    Returns:
        The model's folder, `<dataset>/<trainer>__<plans>__<configuration>` in `target`, and the manifest.

    Raises:
        UserError: it is not a zip of `spinesegdiff export`, is damaged, or was tampered with.
    """
    with _opened(path) as (archive, manifest):
        entries = archive.infolist()
        needed = sum(entry.file_size for entry in entries)
        if needed > (free := shutil.disk_usage(target).free):
            raise UserError(path, f"needs {needed >> 20} MB, but {target} has {free >> 20} MB left")
        files = [(entry, PurePosixPath(entry.filename)) for entry in entries]
        _check_digests(zips.unpack(archive, files, target), manifest, path)
    return target / manifest.folder, manifest


def read_texts(path: Path, names: Sequence[str]) -> tuple[Manifest, list[str]]:
    """Read the manifest of an exported model and text files such as "MODEL_CARD.md", and no weights.

    Raises:
        UserError: as `unpack`; checkpoints are not checked.
    """
    with _opened(path) as (archive, manifest):
        contents = {name: archive.read(name) for name in (f"{manifest.folder}/{name}" for name in names)}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    _check_digests(digests, manifest, path)
    return manifest, [content.decode() for content in contents.values()]


def is_export(path: Path) -> bool:
    """Whether a file is a complete zip of an exported model, by its list of files and its manifest."""
    try:
        with _opened(path):
            return True
    except UserError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[ZipFile, Manifest]]:
    """Open a zip whose entries are those of its manifest, and none larger than stated there."""
    try:
        with zips.opened(path) as archive:
            yield archive, _manifest(archive, path)
    except FileNotFoundError:
        raise UserError(path, "no such file or folder") from None
    except OSError as error:
        cause = reason_of(error)
        raise UserError(path, f"cannot be unpacked ({cause})", "is it readable, and is there room?") from None


def _manifest(archive: ZipFile, path: Path) -> Manifest:
    entries = {entry.filename: entry for entry in archive.infolist()}
    found = [entry for name, entry in entries.items() if PurePosixPath(name).name == MANIFEST]
    if not found and any(PurePosixPath(name).name == PLANS for name in entries):
        stock = "nnUNetv2_install_pretrained_model_from_zip"
        advice = f"install it with {stock} and give the model's folder in nnUNet_results"
        raise UserError(path, "was not made by `spinesegdiff export`", advice)
    if len(found) != 1:
        advice = "it is truncated, or not made by `spinesegdiff export`"
        raise UserError(path, f"has no {MANIFEST}, or several", advice)
    if found[0].file_size > MOST_TEXT:
        raise UserError(path, f"{MANIFEST} has {found[0].file_size >> 20} MB", "refusing to open")
    with archive.open(found[0]) as stream:
        manifest = Manifest.from_text(stream.read(MOST_TEXT), str(path))
    expected = {f"{manifest.folder}/{name}" for name in (*manifest.files, MANIFEST)}
    again = "copy or download the zip again"
    if missing := sorted(expected - set(entries)):
        raise UserError(path, f"{missing[0]} is missing", again)
    if unknown := sorted(set(entries) - expected):
        raise UserError(path, f"holds {unknown[0]!a}, which {MANIFEST} does not list")
    for name, known in manifest.files.items():
        entry, size = entries[f"{manifest.folder}/{name}"], known["size"]
        if entry.file_size != size:
            raise UserError(path, f"{name} has {entry.file_size} bytes where {MANIFEST} has {size}", again)
        packed = entry.compress_type != ZIP_STORED or entry.compress_size != entry.file_size
        if packed if name.endswith(".pth") else size > MOST_TEXT:
            raise UserError(path, f"{name} is packed in a way that could fill the disk", "refusing to open")
    return manifest


def _check_digests(digests: Mapping[str, str], manifest: Manifest, path: Path) -> None:
    """Compare SHA-256 by the names of entries; the manifest itself has none."""
    expected = {f"{manifest.folder}/{name}": known["sha256"] for name, known in manifest.files.items()}
    for name, digest in digests.items():
        if digest != expected.get(name, digest):
            cause = f"{name} is not what {MANIFEST} states: damaged or changed"
            raise UserError(path, cause, "get the zip again")
