"""Compressed voxels, inflated once and checked to their end: ITK fills up what is missing of some."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

from .refusal import DAMAGED, Refusal

_CHUNK = 1 << 20
_ZLIB_OR_GZIP, _GZIP_ONLY = 47, 31
_GZIP = b"\x1f\x8b"


def inflate_file(path: Path, target: Path) -> bool:
    """Inflate a gzip file; returns whether bytes follow that are no gzip member, which are left out.

    Raises:
        Refusal: it is none, or it is damaged.
    """
    with path.open("rb") as stream:
        if stream.read(2) != _GZIP:
            raise Refusal("is named .gz and is no gzip file, or truncated: rename it or download it again")
        stream.seek(0)
        with target.open("wb") as plain:
            return inflate_gzip(stream, plain)


def inflate_gzip(packed: BinaryIO, plain: BinaryIO) -> bool:
    """Inflate a stream of gzip members; returns whether bytes other than zeros follow the last one.

    Raises:
        Refusal: it is damaged.
    """
    inflater, block = zlib.decompressobj(_GZIP_ONLY), packed.read(_CHUNK)
    try:
        while True:
            if not block:
                raise Refusal(DAMAGED)
            plain.write(inflater.decompress(block))
            while inflater.eof:
                rest = inflater.unused_data + packed.read(_CHUNK)
                if not rest.startswith(_GZIP):
                    return bool(rest.strip(b"\0"))
                inflater = zlib.decompressobj(_GZIP_ONLY)
                plain.write(inflater.decompress(rest))
            block = packed.read(_CHUNK)
    except zlib.error as error:
        raise Refusal(DAMAGED) from error


def length_of_gzip(packed: BinaryIO) -> int:
    """Bytes that a stream of gzip members has inflated, check sums compared.

    Raises:
        Refusal: it is damaged.
    """
    length = 0
    try:
        with gzip.GzipFile(fileobj=packed) as stream:
            while block := stream.read(_CHUNK):
                length += len(block)
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal(DAMAGED) from error
    return length


def inflate_zlib(packed: BinaryIO, plain: BinaryIO) -> None:
    """As `inflate_gzip`, for one zlib stream or gzip member; what follows it is passed over."""
    inflater = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        while not inflater.eof:
            chunk = packed.read(_CHUNK)
            if not chunk:
                raise Refusal(DAMAGED)
            plain.write(inflater.decompress(chunk))
    except zlib.error as error:
        raise Refusal(DAMAGED) from error
