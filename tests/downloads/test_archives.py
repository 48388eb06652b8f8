from __future__ import annotations

import stat
import zipfile

import pytest

from nnunetv2_spinesegdiff.downloads.archives import members_of, unpacked_size
from nnunetv2_spinesegdiff.images.zips import BadArchive, check_entries

from .serving import zip_of


def entries(*names: str) -> list[zipfile.ZipInfo]:
    return [zipfile.ZipInfo(name) for name in names]


def paths(*names: str) -> set[str]:
    return {str(path) for path in members_of(entries(*names), "images.zip").files.values()}


@pytest.mark.parametrize("top", ["", "images/"])
def test_with_and_without_the_folder_in_the_zip(top):
    assert paths(f"{top}1_t1.mha", f"{top}2_t1.mha") == {"1_t1.mha", "2_t1.mha"}


def test_other_folders_stay():
    assert paths("images/", "images/a/1.mha", "masks/1.mha", "images") == {"a/1.mha", "masks/1.mha", "images"}


def test_hidden_files_are_left_out_and_named():
    members = members_of(entries("images/1.mha", "__MACOSX/images/._1.mha", "images/.DS_Store"), "images.zip")
    assert [str(path) for path in members.files.values()] == ["1.mha"]
    assert members.left_out == ("__MACOSX/images/._1.mha", "images/.DS_Store")


@pytest.mark.parametrize(
    "name",
    [
        *("../evil", "images/../../evil", "images/../1_t1.mha", "/etc/evil"),
        *("a\\..\\..\\evil", "C:/evil", "C:evil"),
    ],
)
def test_paths_that_leave_the_folder_are_refused(name):
    with pytest.raises(BadArchive, match="outside of its folder") as caught:
        check_entries(entries("images/1_t1.mha", name), "images.zip")
    assert ascii(name) in str(caught.value)
    assert str(caught.value).startswith("images.zip: ")


def test_links_are_refused():
    link = zipfile.ZipInfo("images/link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(BadArchive, match="'images/link' is a link"):
        check_entries([link], "images.zip")


def test_encrypted_files_are_refused():
    locked = zipfile.ZipInfo("images/1.mha")
    locked.flag_bits = 1
    with pytest.raises(BadArchive, match="encrypted"):
        check_entries([locked], "images.zip")


def test_two_files_of_one_name_are_refused():
    with pytest.raises(BadArchive, match=r"1\.mha twice"):
        members_of(entries("images/1.mha", "1.mha"), "images.zip")


def test_an_empty_zip_is_refused():
    with pytest.raises(BadArchive, match="no files"):
        members_of(entries("images/"), "images.zip")


@pytest.mark.parametrize("missing", [0, 1, 5000, 100_000])
def test_the_size_is_known_from_the_end_alone(missing):
    """Against the sizes that went in; the list of the zip lies in its last 20 kB."""
    content = zip_of({f"images/{number}_t1.mha": bytes(number * 10) for number in range(200)})
    expected = sum(number * 10 for number in range(200))
    assert unpacked_size(len(content), content[missing:]) == expected


def test_an_end_without_the_list_tells_nothing():
    content = zip_of({f"images/{number}_t1.mha": bytes(100) for number in range(200)})
    assert unpacked_size(len(content), content[-500:]) is None
    assert unpacked_size(len(content), b"") is None
    assert unpacked_size(1000, bytes(1000)) is None


def test_the_list_of_a_large_zip_is_read_too(monkeypatch):
    """Zip64: zips of more than 65,535 files or of 4 GB keep the place of their list elsewhere."""
    files = {f"{number}.mha": bytes(50) for number in range(3)}
    plain = zip_of(files)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    content = zip_of(files)
    assert len(content) > len(plain)
    assert unpacked_size(len(content), content[60:]) == 150
