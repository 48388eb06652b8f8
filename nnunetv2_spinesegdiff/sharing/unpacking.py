"""The zip of a model becomes a folder, if every byte of it is what its manifest says."""

from __future__ import annotations

import hashlib
import shutil
import stat
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from ..errors import UserError
from .manifest import MANIFEST, PLANS, Manifest

MOST_TEXT = 16 * 2**20
"""Bytes of a manifest, a card or a JSON file; ours have a thousandth of that."""
BLOCK = 2**20


def unpack(path: Path, target: Path) -> tuple[Path, Manifest]:
    """Write the files of an exported model below `target`, an empty folder.

    Everything that can be checked before a byte is written is; content is hashed while it is written.

    Args:
        path: of the zip.
        target: may hold a part of it where the zip is refused.

    Returns:
        The model's folder, `<dataset>/<trainer>__<plans>__<configuration>` in `target`, and the manifest.

    Raises:
        UserError: it is no zip of `spinesegdiff export`, is damaged, or was tampered with.
    """
    with _opened(path) as archive:
        entries = _checked_entries(archive, path)
        manifest = _manifest(archive, entries, path)
        _check_sizes(entries, manifest, path)
        needed = sum(entry.file_size for entry in entries.values())
        if needed > (free := shutil.disk_usage(target).free):
            raise UserError(f"{path}: needs {needed >> 20} MB, but {target} has {free >> 20} MB left")
        digests = {f"{manifest.folder}/{name}": known["sha256"] for name, known in manifest.files.items()}
        for name, entry in entries.items():
            file = target / PurePosixPath(name)
            file.parent.mkdir(parents=True, exist_ok=True)
            _write(archive, entry, file, path, digests.get(name))
    return target / manifest.folder, manifest


def read_texts(path: Path, names: Sequence[str]) -> tuple[Manifest, list[str]]:
    """Read the manifest of an exported model and some of its text files, and leave the weights packed.

    Args:
        path: of the zip.
        names: below the model's folder, for example "MODEL_CARD.md".

    Raises:
        UserError: as `unpack`; checkpoints are not checked.
    """
    with _opened(path) as archive:
        entries = _checked_entries(archive, path)
        manifest = _manifest(archive, entries, path)
        _check_sizes(entries, manifest, path)
        texts = []
        for name in names:
            entry = entries[f"{manifest.folder}/{name}"]
            content = archive.read(entry)
            if hashlib.sha256(content).hexdigest() != manifest.files[name]["sha256"]:
                raise _changed(entry, path)
            texts.append(content.decode())
    return manifest, texts


def is_export(path: Path) -> bool:
    """Whether a file is a whole zip of an exported model, by its list of files and its manifest."""
    try:
        with _opened(path) as archive:
            _manifest(archive, _checked_entries(archive, path), path)
    except UserError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[ZipFile]:
    try:
        with ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file or folder") from None
    except (BadZipFile, zlib.error, EOFError) as error:
        raise UserError(
            f"{path}: is no zip, or a damaged one ({error}); give the zip of `spinesegdiff export`"
        ) from None
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or compressed in some other way
        raise UserError(f"{path}: cannot be unpacked ({error}); export again") from None
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{path}: cannot be unpacked ({reason}); is it readable, and is there room?"
        ) from None


def _checked_entries(archive: ZipFile, path: Path) -> dict[str, ZipInfo]:
    """Entries by name: plain files in one folder of one folder, each name once."""
    entries = archive.infolist()
    for entry in entries:
        if reason := _why_no_plain_file(entry):
            raise UserError(f"{path}: holds {_shown(entry)}, {reason}; such a zip is not opened")
    repeated = [name for name, count in Counter(e.filename.casefold() for e in entries).items() if count > 1]
    if repeated:
        raise UserError(f"{path}: holds {repeated[0]} more than once; such a zip is not opened")
    if sum(entry.compress_size for entry in entries) > path.stat().st_size:
        raise UserError(f"{path}: its files lie over each other; such a zip is not opened")
    return {entry.filename: entry for entry in entries}


def _why_no_plain_file(entry: ZipInfo) -> str | None:
    # `filename` ends at a NUL, and on Windows has its backslashes replaced; this is what the zip says.
    name = entry.orig_filename
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if name.startswith(("/", "\\")) or PureWindowsPath(name).drive:
        return "an absolute name"
    if ".." in PurePosixPath(name).parts or "\\" in name or not name.isprintable():
        return "a name that leads out of its folder"
    if kind == stat.S_IFLNK:
        return "a link"
    if entry.is_dir() or kind not in (0, stat.S_IFREG) or name != str(PurePosixPath(name)):
        return "no plain file"
    if entry.flag_bits & 1 or entry.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        return "encrypted or compressed in an unusual way"
    return None


def _shown(entry: ZipInfo) -> str:
    return ascii(entry.orig_filename[:200])


def _manifest(archive: ZipFile, entries: dict[str, ZipInfo], path: Path) -> Manifest:
    found = [entry for name, entry in entries.items() if PurePosixPath(name).name == MANIFEST]
    if not found and any(PurePosixPath(name).name == PLANS for name in entries):
        raise UserError(
            f"{path}: was not made by `spinesegdiff export`; install it with "
            "nnUNetv2_install_pretrained_model_from_zip and give the model's folder in nnUNet_results"
        )
    if len(found) != 1:
        raise UserError(
            f"{path}: has no {MANIFEST}, or several; it is cut off, or not made by `spinesegdiff export`"
        )
    (entry,) = found
    if entry.file_size > MOST_TEXT:
        raise UserError(f"{path}: {MANIFEST} has {entry.file_size >> 20} MB; such a zip is not opened")
    with archive.open(entry) as stream:
        manifest = Manifest.from_text(stream.read(MOST_TEXT), str(path))
    expected = {f"{manifest.folder}/{name}" for name in (*manifest.files, MANIFEST)}
    if missing := sorted(expected - set(entries)):
        raise UserError(f"{path}: {missing[0]} is missing; copy or download the zip again")
    if unknown := sorted(set(entries) - expected):
        raise UserError(f"{path}: holds {unknown[0]!a}, which {MANIFEST} does not list")
    return manifest


def _check_sizes(entries: dict[str, ZipInfo], manifest: Manifest, path: Path) -> None:
    """Before anything is unpacked: no file is larger than it says, nor than it could be."""
    for name, known in manifest.files.items():
        entry = entries[f"{manifest.folder}/{name}"]
        if entry.file_size != known["size"]:
            raise UserError(
                f"{path}: {name} has {entry.file_size} bytes where {MANIFEST} has {known['size']}; "
                "copy or download the zip again"
            )
        if name.endswith(".pth"):
            suspicious = entry.compress_type != ZIP_STORED or entry.compress_size != entry.file_size
        else:
            suspicious = entry.file_size > MOST_TEXT
        if suspicious:
            raise UserError(f"{path}: {name} is packed in a way that could fill the disk; it is not opened")


def _write(archive: ZipFile, entry: ZipInfo, file: Path, path: Path, digest: str | None) -> None:
    """One pass: read, hashed and written; the manifest itself has no digest."""
    made, left = hashlib.sha256(), entry.file_size
    with archive.open(entry) as source, file.open("xb") as target:
        while left > 0 and (block := source.read(min(BLOCK, left))):
            made.update(block)
            target.write(block)
            left -= len(block)
        whole = not left and not source.read(1)
    if not whole or (digest is not None and made.hexdigest() != digest):
        raise _changed(entry, path)


def _changed(entry: ZipInfo, path: Path) -> UserError:
    return UserError(
        f"{path}: {entry.filename} is not what {MANIFEST} says: damaged, or changed; get the zip again"
    )
