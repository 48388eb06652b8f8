"""Zips of exams, and those that are better not unpacked."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_spinesegdiff.images import dicom

from ..helpers.scan_files import scan, values, write_series, zipped


@pytest.fixture
def exam(tmp_path) -> Path:
    """The zip of a series."""
    return zipped(write_series(tmp_path / "exam", scan()), tmp_path / "exam.zip")


def test_the_series_of_a_zip_is_chosen_as_that_of_a_folder(tmp_path, read, refused):
    for number, description in ((1, "T2 sag"), (2, "T1 sag")):
        image = scan(seed=number - 1)
        write_series(tmp_path / "exam", image, SeriesNumber=number, SeriesDescription=description)
    path = zipped(tmp_path / "exam", tmp_path / "exam.zip")
    assert "2 series are sagittal volumes" in refused(path)
    made = read(path, series="T1 sag")
    assert np.array_equal(values(made.image), values(scan(seed=1)))
    assert len(made.dicom_files) == 7


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        *((name, 0o644, "outside of its folder") for name in ("/etc/passwd", "C:\\windows\\a")),
        *((name, 0o644, "outside of its folder") for name in ("a/../../b", "..\\b")),
        ("link", stat.S_IFLNK | 0o777, "is a link"),
    ],
)
def test_zips_that_lead_elsewhere_are_refused(name, mode, said, exam, refused):
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(exam, "a") as archive:
        archive.writestr(member, "content")
    assert said in refused(exam)


def test_a_zip_of_more_than_8_gib_is_refused(exam, refused, monkeypatch):
    assert dicom.MOST_GIB == 8
    monkeypatch.setattr(dicom, "MOST_GIB", 7 * 70 * 64 * 2 / 1024**3)
    assert "GiB unpacked" in refused(exam)


def encrypt(content: bytearray) -> None:
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = content.find(signature)
        while place >= 0:
            content[place + offset] |= 1
            place = content.find(signature, place + 4)


def flip_bits(content: bytearray) -> None:
    content[len(content) // 2] ^= 0x10


def rename(content: bytearray) -> None:
    """To a name that is no UTF-8, as the flag of its entry promises."""
    content[:] = content.replace("n\u00e4me".encode(), b"n\xff\xffme")


@pytest.mark.parametrize(
    ("change", "said"),
    [(encrypt, "is encrypted"), (flip_bits, "truncated or damaged"), (rename, "truncated or damaged")],
)
def test_damaged_and_encrypted_zips_are_refused(change, said, exam, refused):
    with zipfile.ZipFile(exam, "a") as archive:
        archive.writestr("n\u00e4me", "content")
    content = bytearray(exam.read_bytes())
    change(content)
    exam.write_bytes(content)
    assert said in refused(exam)


def test_a_zip_of_another_method_is_refused(exam, tmp_path, refused):
    with zipfile.ZipFile(exam, "w", zipfile.ZIP_LZMA) as archive:
        for file in (tmp_path / "exam").iterdir():
            archive.write(file, file.name)
    assert "compressed in an unusual way" in refused(exam)


def test_names_that_no_file_gets_do_not_matter(tmp_path, read):
    """Hidden files, the folder itself, and names that are equal on some file systems."""
    write_series(tmp_path / "exam", scan())
    write_series(tmp_path / "exam" / "__MACOSX" / ".Trash", scan(seed=1))
    path = zipped(tmp_path / "exam", tmp_path / "exam.zip")
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("./", "notes", "Notes"):
            archive.writestr(name, "")
    assert len(read(path).dicom_files) == 7
