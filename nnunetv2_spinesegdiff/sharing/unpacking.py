"""Unpack the zip of a model, if every byte of it is what its manifest states."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from ..errors import UserError
from ..images import zips
from ..text import reason_of
from .manifest import MANIFEST, PLANS, Manifest

MOST_TEXT = 16 * 2**20
"""Bytes of a manifest, a card or a JSON file; ours have a thousandth of that."""


def unpack(path: Path, target: Path) -> tuple[Path, Manifest]:
    """Write the files of an exported model to `target`, an empty folder.

    Everything that can be checked before a byte is written is; content is hashed while it is written.

    Args:
        path: of the zip.
        target: may hold a part of it if the zip is rejected.

    Returns:
        The model's folder, `<dataset>/<trainer>__<plans>__<configuration>` in `target`, and the manifest.

    Raises:
        UserError: it is not a zip of `spinesegdiff export`, is damaged, or was tampered with.
    """
    with _opened(path) as (archive, manifest):
        needed = sum(entry.file_size for entry in archive.infolist())
        if needed > (free := shutil.disk_usage(target).free):
            raise UserError(path, f"needs {needed >> 20} MB, but {target} has {free >> 20} MB left")
        for entry in archive.infolist():
            file = target / PurePosixPath(entry.filename)
            file.parent.mkdir(parents=True, exist_ok=True)
            _check_digest(zips.extract(archive, entry, file), entry, manifest, path)
    return target / manifest.folder, manifest


def read_texts(path: Path, names: Sequence[str]) -> tuple[Manifest, list[str]]:
    """Read the manifest of an exported model and some of its text files, and leave the weights packed.

    Args:
        path: of the zip.
        names: in the model's folder, for example "MODEL_CARD.md".

    Raises:
        UserError: as `unpack`; checkpoints are not checked.
    """
    with _opened(path) as (archive, manifest):
        texts = []
        for name in names:
            entry = archive.getinfo(f"{manifest.folder}/{name}")
            content = archive.read(entry)
            _check_digest(hashlib.sha256(content).hexdigest(), entry, manifest, path)
            texts.append(content.decode())
    return manifest, texts


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
        raise UserError(
            path,
            "was not made by `spinesegdiff export`",
            "install it with nnUNetv2_install_pretrained_model_from_zip and give the model's folder in "
            "nnUNet_results",
        )
    if len(found) != 1:
        raise UserError(
            path, f"has no {MANIFEST}, or several", "it is truncated, or not made by `spinesegdiff export`"
        )
    if found[0].file_size > MOST_TEXT:
        raise UserError(path, f"{MANIFEST} has {found[0].file_size >> 20} MB", "refusing to open")
    with archive.open(found[0]) as stream:
        manifest = Manifest.from_text(stream.read(MOST_TEXT), str(path))
    expected = {f"{manifest.folder}/{name}" for name in (*manifest.files, MANIFEST)}
    if missing := sorted(expected - set(entries)):
        raise UserError(path, f"{missing[0]} is missing", "copy or download the zip again")
    if unknown := sorted(set(entries) - expected):
        raise UserError(path, f"holds {unknown[0]!a}, which {MANIFEST} does not list")
    for name, known in manifest.files.items():
        entry = entries[f"{manifest.folder}/{name}"]
        if entry.file_size != known["size"]:
            raise UserError(
                path,
                f"{name} has {entry.file_size} bytes where {MANIFEST} has {known['size']}",
                "copy or download the zip again",
            )
        packed = entry.compress_type != ZIP_STORED or entry.compress_size != entry.file_size
        if packed if name.endswith(".pth") else entry.file_size > MOST_TEXT:
            raise UserError(path, f"{name} is packed in a way that could fill the disk", "refusing to open")
    return manifest


def _check_digest(digest: str, entry: ZipInfo, manifest: Manifest, path: Path) -> None:
    """The manifest itself has no digest."""
    name = entry.filename.removeprefix(f"{manifest.folder}/")
    if name != MANIFEST and digest != manifest.files[name]["sha256"]:
        raise UserError(
            path, f"{entry.filename} is not what {MANIFEST} states: damaged or changed", "get the zip again"
        )
