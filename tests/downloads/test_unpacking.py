"""Zips become folders with a record; unsafe zips are rejected."""

from __future__ import annotations

import io
import stat
import zipfile

import pytest

from nnunetv2_spinesegdiff.downloads.unpacking import find_fault, list_members, unpack, unpacked_size
from nnunetv2_spinesegdiff.images.zips import BadArchive, check_entries

from .serving import zip_of


def members(*names: str):
    content = zip_of(dict.fromkeys(names, b""))
    return list_members(zipfile.ZipFile(io.BytesIO(content)), "images.zip")


@pytest.mark.parametrize(
    ("entries", "paths"),
    [
        (["1_t1.mha", "2_t1.mha"], ["1_t1.mha", "2_t1.mha"]),
        (["images/1_t1.mha", "images/2_t1.mha"], ["1_t1.mha", "2_t1.mha"]),
        (["images/", "images/a/1.mha", "masks/1.mha", "images"], ["a/1.mha", "masks/1.mha", "images"]),
        (["images/1.mha", "__MACOSX/images/._1.mha", "images/.DS_Store"], ["1.mha"]),
    ],
)
def test_the_folder_in_a_zip_and_hidden_files_are_dropped(entries, paths):
    listed = members(*entries)
    assert [str(path) for path in listed.files.values()] == paths
    assert all(name in entries for name in listed.hidden)
    assert len(listed.hidden) == sum("/." in name for name in entries)


@pytest.mark.parametrize(
    ("entries", "cause"), [(["images/1.mha", "1.mha"], "twice"), (["images/"], "no files")]
)
def test_zips_that_are_no_folder_of_files_are_rejected(entries, cause):
    with pytest.raises(BadArchive, match=cause):
        members(*entries)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        *(
            ({"filename": name}, "outside")
            for name in (
                *("../evil", "images/../../evil", "images/../1_t1.mha", "/etc/evil"),
                *("a\\..\\..\\evil", "C:/evil", "C:evil"),
            )
        ),
        ({"external_attr": (stat.S_IFLNK | 0o777) << 16}, "link"),
        ({"flag_bits": 1}, "encrypted"),
    ],
)
def test_unsafe_entries_are_rejected(changes, cause):
    entry = zipfile.ZipInfo(changes.pop("filename", "images/1.mha"))
    for name, value in changes.items():
        setattr(entry, name, value)
    with pytest.raises(BadArchive, match=cause) as caught:
        check_entries([zipfile.ZipInfo("images/1_t1.mha"), entry], "images.zip")
    assert ascii(entry.orig_filename) in str(caught.value)


def test_an_unpacked_zip_is_known_by_its_record(tmp_path):
    archive, room = tmp_path / "images.zip", tmp_path / "room"
    archive.write_bytes(zip_of({"images/a/1.mha": b"123", "images/2.mha": b""}))
    room.mkdir()
    assert unpack(archive, tmp_path / "images", room, "ab").size == 3
    assert (tmp_path / "images" / "a" / "1.mha").read_bytes() == b"123"
    assert find_fault(tmp_path / "images", "ab") == ""
    assert "another version" in find_fault(tmp_path / "images", "cd")
    assert zipfile.is_zipfile(archive)
    assert not list(room.iterdir())


MANY = {f"images/{number}_t1.mha": bytes(number * 10) for number in range(200)}


@pytest.mark.parametrize("missing", [0, 1, 5000, 100_000])
def test_the_unpacked_size_is_read_from_the_end_of_a_zip(missing):
    """The list of the zip is in its last 20 kB."""
    content = zip_of(MANY)
    assert unpacked_size(len(content), content[missing:]) == sum(map(len, MANY.values()))


def test_an_end_without_the_whole_list_is_not_enough():
    content = zip_of(MANY)
    assert unpacked_size(len(content), content[-500:]) is None
    assert unpacked_size(len(content), b"") is None
    assert unpacked_size(1000, bytes(1000)) is None


def test_the_list_of_a_large_zip_is_read_too(monkeypatch):
    """Zip64: zips of more than 65,535 files or of 4 GB keep the position of their list elsewhere."""
    files = {f"{number}.mha": bytes(50) for number in range(3)}
    plain = zip_of(files)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    content = zip_of(files)
    assert len(content) > len(plain)
    assert unpacked_size(len(content), content[60:]) == 150
