"""A download is complete or continued, and everything else is left alone."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nnunetv2_spinesegdiff.dataset_conversion.convert import convert
from nnunetv2_spinesegdiff.dataset_conversion.phantom.tables import GRADING_COLUMNS, OVERVIEW_COLUMNS

from nnunetv2_spinesegdiff import cli
from nnunetv2_spinesegdiff.downloads import unpacking
from nnunetv2_spinesegdiff.downloads.datasets import SPIDER, Table
from nnunetv2_spinesegdiff.downloads.download import (
    ROOM,
    Downloaded,
    download,
    find_fault_of_table,
)
from nnunetv2_spinesegdiff.downloads.fetching import BLOCK
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import zips
from nnunetv2_spinesegdiff.locks import held

from ..helpers.spider_series import SHARED_DATA, write_cohort
from .serving import Shelf, dataset_of, serving, zip_of

WHOLE = {"images", "masks", "overview.csv", "radiological_gradings.csv"}
RANDOM = random.Random(0)
IMAGES = {f"images/{number}_t1.mha": RANDOM.randbytes(20_000) for number in range(5)}
MASKS = {f"{number}_t1.mha": RANDOM.randbytes(1000) for number in range(5)}
FILES = {
    "images.zip": zip_of(IMAGES),
    "masks.zip": zip_of(MASKS),
    "overview.csv": b"name,sex\n1_t1,F\n",
    "radiological_gradings.csv": b"name,grade\n1,2\n",
}
DATASET = dataset_of(FILES)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with serving(Shelf(dict(FILES))) as shelf:
        yield shelf


def run(shelf: Shelf, folder: Path, **options: Any) -> Downloaded:
    return download(folder, **{"base_url": shelf.url, "dataset": DATASET, "waits": (0.0,), **options})


def names(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def test_all_parts_and_a_second_run_requests_nothing(shelf, tmp_path):
    out = tmp_path / "new" / "spider"
    report = run(shelf, out)
    assert names(out) == WHOLE
    assert bytes_in(out / "images") == {name.removeprefix("images/"): b for name, b in IMAGES.items()}
    assert bytes_in(out / "masks") == MASKS
    assert (out / "overview.csv").read_bytes() == FILES["overview.csv"]
    assert (len(report.made), report.kept) == (4, [])
    before = len(shelf.requests)
    report = run(shelf, out)
    assert len(shelf.requests) == before
    assert (report.made, set(report.kept)) == ([], WHOLE)


@pytest.mark.parametrize("only", [["images"], ["masks", "tables"]])
def test_chosen_parts_and_later_the_rest(shelf, tmp_path, only):
    run(shelf, tmp_path, only=only)
    tables = {name for name in WHOLE if name.endswith(".csv")} if "tables" in only else set()
    assert names(tmp_path) == {"images", "masks"} & set(only) | tables
    run(shelf, tmp_path)
    assert names(tmp_path) == WHOLE
    assert all(shelf.asked(name).count("") == 1 for name in FILES)
    with pytest.raises(UserError, match="labels"):
        run(shelf, tmp_path, only=["labels"])


def test_zips_can_be_kept_and_are_used_again(shelf, tmp_path):
    run(shelf, tmp_path, keep_zips=True)
    assert names(tmp_path) == WHOLE | {"images.zip", "masks.zip"}
    shutil.rmtree(tmp_path / "images")
    before = len(shelf.requests)
    run(shelf, tmp_path)
    assert len(shelf.requests) == before
    assert names(tmp_path) == WHOLE | {"images.zip", "masks.zip"}


def test_a_cut_connection_is_continued_by_the_next_run(shelf, tmp_path):
    cut = 3 * BLOCK
    shelf.cut_after = [len(FILES["images.zip"]) // 8, cut, 0]
    with pytest.raises(UserError, match=r"images\.zip.*same command again"):
        run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {ROOM}
    sent = shelf.sent
    run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {"images"}
    assert shelf.asked("images.zip")[-1] == f"bytes={cut}-"
    size = len(FILES["images.zip"])
    # The rest, and the end once more, for the unpacked size.
    assert shelf.sent - sent == size - cut + size // 8


@pytest.mark.parametrize("changed", ["the file", "the part"])
def test_a_wrong_checksum_deletes_the_file(shelf, tmp_path, changed):
    shelf.cut_after = [20_000, 40_000, 0]
    with pytest.raises(UserError):
        run(shelf, tmp_path, only=["images"])
    part = tmp_path / ROOM / "images.zip.part"
    if changed == "the file":
        shelf.files["images.zip"] = zip_of({"images/other.mha": bytes(90_000)})
    else:
        part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(UserError, match=r"images\.zip: .*SHA-256"):
        run(shelf, tmp_path, only=["images"])
    assert (shelf.asked("images.zip")[-1] == "") == (changed == "the file")
    assert not names(tmp_path)
    shelf.files["images.zip"] = FILES["images.zip"]
    run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {"images"}


def test_a_page_instead_of_a_table_is_deleted(shelf, tmp_path):
    shelf.files["overview.csv"] = b"<html>sign in</html>\n"
    with pytest.raises(UserError, match=r"overview\.csv: .*no column 'name'"):
        run(shelf, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_free_space_is_compared_before_anything_is_downloaded(shelf, tmp_path, monkeypatch):
    """Zips, tables and the unpacked content, which is listed at the end of the zips, to the byte."""
    needed = sum(len(content) for files in (FILES, IMAGES, MASKS) for content in files.values())
    free = SimpleNamespace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(UserError, match=r"kB are needed.* kB are free"):
        run(shelf, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert all(shelf.asked(name).count("") == 0 for name in FILES)
    free.free = needed
    run(shelf, tmp_path / "new")
    assert names(tmp_path / "new") == WHOLE


@pytest.mark.parametrize("enough", [True, False])
def test_unknown_sizes_are_estimated(shelf, tmp_path, monkeypatch, enough):
    """Such a server serves, too: 100 bytes a zip, its content three times as large, 10 bytes a table."""
    shelf.heads = shelf.lengths = shelf.ranges = shelf.etags = False
    needed = 2 * (100 + 300) + 2 * 10
    free = SimpleNamespace(free=needed - (not enough))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    if enough:
        run(shelf, tmp_path)
        assert names(tmp_path) == WHOLE
    else:
        with pytest.raises(UserError, match="are needed"):
            run(shelf, tmp_path)


class FullAfter:
    """A file on a disk with little room left."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def __enter__(self) -> FullAfter:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, block: bytes) -> int:
        self.room -= len(block)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(block)


def fill_up(monkeypatch: pytest.MonkeyPatch, which: str, room: int) -> None:
    usual = Path.open

    def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = usual(path, mode, *args, **kwargs)
        return FullAfter(file, room) if which in str(path) and mode in ("wb", "ab", "xb") else file

    monkeypatch.setattr(Path, "open", opened)


@pytest.mark.parametrize(
    ("file", "room", "left"), [("images.zip.part", 50_000, set()), ("3_t1.mha", 500, {"images.zip"})]
)
def test_a_full_disk_leaves_at_most_a_complete_zip(shelf, tmp_path, monkeypatch, file, room, left):
    out = tmp_path / "new"
    with monkeypatch.context() as patch:
        fill_up(patch, file, room)
        with pytest.raises(UserError, match="No space left"):
            run(shelf, out, only=["images"])
    assert (names(out / ROOM) if out.exists() else set()) == left
    before = shelf.asked("images.zip").count("")
    run(shelf, out, only=["images"])
    assert shelf.asked("images.zip").count("") == before + (not left)
    assert names(out) == {"images"}


@pytest.mark.parametrize(
    ("where", "call", "left"),
    [
        (zips, "unpack", {"images.zip"}),
        ("pooch.core", "hash_matches", {"images.zip.part", "images.zip.part.json"}),
    ],
)
def test_an_interruption_while_unpacking_or_checking_loses_nothing(
    shelf, tmp_path, monkeypatch, where, call, left
):
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((f"{where}.{call}",) if isinstance(where, str) else (where, call)), interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {ROOM}
    assert names(tmp_path / ROOM) == left
    run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {"images"}
    assert shelf.asked("images.zip").count("") == 1


def test_leftovers_of_a_killed_run_are_deleted(shelf, tmp_path):
    (tmp_path / ROOM / "images.unpacking").mkdir(parents=True)
    (tmp_path / ROOM / "images.unpacking" / "1_t1.mha").touch()
    for name in ("tmpabcd", "lock"):
        (tmp_path / ROOM / name).touch()
    (tmp_path / ROOM / "images.zip").write_bytes(b"half of it")
    run(shelf, tmp_path)
    assert names(tmp_path) == WHOLE


DAMAGED = FILES["images.zip"][:5000] + b"damage" + FILES["images.zip"][5006:]


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (zip_of({"images/1_t1.mha": b"1", "../evil.txt": b"2"}), r"'\.\./evil\.txt'.*outside"),
        (b"x" * 1000, "not a zip"),
        (DAMAGED, "damaged"),
    ],
    ids=["outside", "no zip", "damaged"],
)
def test_unsafe_and_damaged_zips_are_rejected(tmp_path, content, cause):
    with (
        serving(Shelf({"images.zip": content})) as shelf,
        pytest.raises(UserError, match=rf"images\.zip: .*{cause}"),
    ):
        run(shelf, tmp_path / "in" / "out", dataset=dataset_of(shelf.files), only=["images"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def replace_zip(out: Path) -> None:
    (out / "images.zip").write_bytes(b"mine")
    shutil.rmtree(out / "images")


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda out: (out / "images" / "2_t1.mha").unlink(), "1 of 5 files.*2_t1.mha"),
        (lambda out: (out / "images" / "2_t1.mha").write_bytes(b""), "changed.*2_t1.mha"),
        (lambda out: (out / "images" / unpacking.RECORD).unlink(), "not made by this command"),
        (lambda out: (out / "overview.csv").write_bytes(b"name,sex\n1"), "row 2"),
        (replace_zip, "differs from"),
    ],
)
def test_what_is_here_but_not_complete_is_reported_and_stays(shelf, tmp_path, spoil, cause):
    run(shelf, tmp_path)
    spoil(tmp_path)
    before = shelf.sent
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=cause):
        run(shelf, tmp_path)
    assert shelf.sent == before
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == files


def test_folders_that_cannot_be_written(shelf, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot be written"):
        run(shelf, tmp_path / "file")

    def refused(*args: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("nnunetv2_spinesegdiff.downloads.download.held", refused)
    with pytest.raises(UserError, match=r"new: cannot be written \(Permission denied\)"):
        run(shelf, tmp_path / "new")
    assert not shelf.requests


def test_one_process_downloads_into_a_folder(shelf, tmp_path):
    (tmp_path / ROOM).mkdir()
    with (
        held(tmp_path / ROOM / "lock", OSError()),
        pytest.raises(UserError, match=f"{tmp_path}: another process"),
    ):
        run(shelf, tmp_path)
    run(shelf, tmp_path)
    assert names(tmp_path) == WHOLE


def test_hidden_files_in_a_zip_are_reported(tmp_path):
    content = zip_of({"images/1_t1.mha": b"1", "images/.DS_Store": b"2"})
    with serving(Shelf({"images.zip": content})) as shelf:
        (note,) = run(shelf, tmp_path, dataset=dataset_of(shelf.files), only=["images"]).notes
    assert "images.zip: 1 hidden" in note
    assert ".DS_Store" in note


def test_a_downloaded_dataset_is_converted(tmp_path, monkeypatch, capsys):
    """By the command, from a synthetic SPIDER in zips like the published ones."""
    write_cohort(tmp_path / "source")
    files = {"overview.csv": b"name\n1\n", "radiological_gradings.csv": b"name\n1\n"}
    for folder in ("images", "masks"):
        paths = sorted((tmp_path / "source" / folder).iterdir())
        files[f"{folder}.zip"] = zip_of({f"{folder}/{path.name}": path.read_bytes() for path in paths})
    monkeypatch.setattr(cli.downloading, "SPIDER", dataset_of(files))
    out = tmp_path / "spider"
    with serving(Shelf(files)) as shelf:
        assert cli.main(["download", "-o", str(out), "--base_url", shelf.url]) == 0
    assert f"spinesegdiff convert -i {out} -d 501" in capsys.readouterr().out
    report = convert(
        out, 501, num_processes=1, nnunet_raw=tmp_path / "raw", nnunet_preprocessed=tmp_path / "preprocessed"
    )
    assert len(report.cases) == 12
    assert not report.failures
    assert report.counts["ignored_files"] == 0


@pytest.mark.parametrize("status", [404, 403])
def test_the_command_ends_with_one_line(tmp_path, capsys, shelf, status):
    shelf.statuses = [status] * 20
    assert cli.main(["download", "-o", str(tmp_path / "x"), "--base_url", shelf.url]) == 1
    output = capsys.readouterr()
    assert output.err.count("\n") == 1
    assert output.err.startswith(f"error: {shelf.url}/overview.csv: ")
    assert str(status) in output.err
    assert "CC BY 4.0" in output.out
    assert not (tmp_path / "x").exists()


def test_an_interrupted_command_is_one_line(tmp_path, capsys, monkeypatch):
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nnunetv2_spinesegdiff.downloads.download.download", interrupted)
    assert cli.main(["download", "-o", str(tmp_path)]) == 1
    assert f"{tmp_path}: interrupted" in capsys.readouterr().err


TABLE = 'Name,size,"in, words"\n1_t1,3,"three, or so"\n2_t1,4,four\n'


def fault_of(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return find_fault_of_table(path, ("name", "SIZE"))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        *((table, "") for table in (TABLE, TABLE.replace("\n", "\r\n"), "\ufeff" + TABLE, TABLE.rstrip())),
        (TABLE + "\n", ""),
        ("", "column 'name'"),
        ("Name,weight\n1,2\n", "column 'SIZE'"),
        ("<!DOCTYPE html>\n<html>no such record</html>\n", "column 'name'"),
        ("Name,size\n", "no rows"),
        ("Name,size\n1,2\n3\n", "row 3"),
        ("Name,size\n1,2,3\n", "row 2"),
        (bytes(range(256)), "CSV"),
        (TABLE + '"5', "CSV"),
    ],
)
def test_complete_tables_and_others(tmp_path, content, fault):
    found = fault_of(tmp_path, content)
    assert (fault in found) if fault else not found


def test_a_table_that_ends_within_a_row_is_found(tmp_path):
    """Wherever it is cut before the last value of a row; within it, only the file's length could show it."""
    second = TABLE.index("2_t1")
    last_values = TABLE.index(',"three'), TABLE.index(",four")
    for end in (*range(last_values[0] + 1), *range(second + 1, last_values[1] + 1)):
        assert fault_of(tmp_path, TABLE[:end]), repr(TABLE[:end])


def test_required_columns_are_those_of_the_phantoms_tables():
    known = {"overview.csv": OVERVIEW_COLUMNS, "radiological_gradings.csv": GRADING_COLUMNS}
    for table in SPIDER.parts["tables"]:
        assert isinstance(table, Table)
        assert set(table.columns) <= set(known[table.name])


@pytest.mark.skipif(not (SHARED_DATA / "spider_tables").is_dir(), reason="SPIDER's tables are not here")
def test_spiders_own_tables_are_complete():
    for table in SPIDER.parts["tables"]:
        assert isinstance(table, Table)
        assert find_fault_of_table(SHARED_DATA / "spider_tables" / table.name, table.columns) == ""
