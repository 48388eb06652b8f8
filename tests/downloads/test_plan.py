from __future__ import annotations

import errno
import shutil
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.downloads.datasets import SPIDER, Archive, Table
from nnunetv2_spinesegdiff.downloads.disk import check_free, in_words, is_full
from nnunetv2_spinesegdiff.downloads.plan import fetching, room_for
from nnunetv2_spinesegdiff.errors import UserError

ARCHIVE = Archive("images.zip", "0" * 64, about_bytes=1000, unpacks_to=2.5)
TABLE = Table("overview.csv", ("a",), about_bytes=70)
SIZES = st.integers(0, 10**10)


@given(SIZES, SIZES, SIZES)
def test_what_is_known_counts(size, have, unpacked):
    task = fetching(ARCHIVE, size, have, unpacked)
    assert task.to_fetch == max(0, size - have)
    assert task.to_unpack == unpacked


def test_what_is_unknown_is_estimated():
    task = fetching(ARCHIVE, None, 400, None)
    assert (task.to_fetch, task.to_unpack) == (600, 2500)
    assert fetching(ARCHIVE, 10, 0, None).to_unpack == 25
    assert fetching(TABLE, None, 0, None).to_fetch == 70


def test_zips_and_their_content_need_room_at_the_same_time():
    tasks = [fetching(ARCHIVE, 10, 3, 100), fetching(TABLE, 5, 0, None)]
    assert room_for(tasks) == 7 + 100 + 5


def test_the_disk_is_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1500))
    check_free(tmp_path, 1500, "for it")
    with pytest.raises(UserError, match=r"1\.5 kB are needed for it, 1\.5 kB are free"):
        check_free(tmp_path, 1501, "for it")


def test_sizes_in_words():
    assert [in_words(size) for size in (0, 999, 1000, 58_200_000, 3_700_000_000)] == [
        *("0 bytes", "999 bytes", "1.0 kB", "58.2 MB", "3.7 GB")
    ]


def test_full_disks_and_others():
    assert is_full(OSError(errno.ENOSPC, ""))
    assert is_full(OSError(errno.EDQUOT, ""))
    assert not is_full(OSError(errno.EACCES, ""))


def test_spider_is_told_apart_by_checksums_and_its_licence_shown():
    archives = [source for part in SPIDER.parts.values() for source in part if isinstance(source, Archive)]
    assert {archive.folder for archive in archives} == {"images", "masks"}
    assert all(len(bytes.fromhex(archive.sha256)) == 32 for archive in archives)
    assert "CC BY 4.0" in SPIDER.about[0]
    text = " ".join(SPIDER.about)
    assert "10.1038/s41597-024-03090-w" in text
    assert "10.5281/zenodo.10159290" in text
