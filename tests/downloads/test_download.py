from __future__ import annotations

import errno
import os
import random
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nnunetv2_spinesegdiff.dataset_conversion.convert import convert

from nnunetv2_spinesegdiff import cli
from nnunetv2_spinesegdiff.downloads import unpacking
from nnunetv2_spinesegdiff.downloads.download import Downloaded, download
from nnunetv2_spinesegdiff.downloads.resuming import _BLOCK as BLOCK
from nnunetv2_spinesegdiff.downloads.room import ROOM, working_room
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import zips

from ..helpers.spider_series import write_cohort
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


def test_all_of_it(shelf, tmp_path):
    out = tmp_path / "new" / "spider"
    report = run(shelf, out)
    assert names(out) == WHOLE
    assert bytes_in(out / "images") == {name.removeprefix("images/"): b for name, b in IMAGES.items()}
    assert bytes_in(out / "masks") == MASKS
    assert (out / "overview.csv").read_bytes() == FILES["overview.csv"]
    assert len(report.made) == 4
    assert not report.kept


def test_a_second_run_asks_for_nothing(shelf, tmp_path):
    run(shelf, tmp_path)
    before = len(shelf.requests)
    report = run(shelf, tmp_path)
    assert len(shelf.requests) == before
    assert set(report.kept) == WHOLE
    assert not report.made


@pytest.mark.parametrize("only", [["images"], ["masks", "tables"]])
def test_only_what_is_asked_for(shelf, tmp_path, only):
    run(shelf, tmp_path, only=only)
    tables = {name for name in WHOLE if name.endswith(".csv")} if "tables" in only else set()
    assert names(tmp_path) == {"images", "masks"} & set(only) | tables
    run(shelf, tmp_path)
    assert names(tmp_path) == WHOLE
    assert all(shelf.asked(name).count("") == 1 for name in FILES)


def test_parts_that_do_not_exist(tmp_path):
    with pytest.raises(UserError, match="'labels': choose of tables"):
        download(tmp_path, only=["labels"])


def test_zips_can_be_kept_and_serve_again(shelf, tmp_path):
    run(shelf, tmp_path, keep_zips=True)
    assert names(tmp_path) == WHOLE | {"images.zip", "masks.zip"}
    shutil.rmtree(tmp_path / "images")
    before = len(shelf.requests)
    run(shelf, tmp_path)
    assert len(shelf.requests) == before
    assert names(tmp_path) == WHOLE | {"images.zip", "masks.zip"}


def test_a_cut_connection_goes_on_with_the_next_run(shelf, tmp_path):
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
    # The rest, and the end once more, for what the zip takes unpacked.
    assert shelf.sent - sent == size - cut + size // 8


def test_another_file_on_the_server_begins_anew_and_its_checksum_is_wrong(shelf, tmp_path):
    shelf.cut_after = [20_000, 40_000, 0]
    with pytest.raises(UserError):
        run(shelf, tmp_path, only=["images"])
    shelf.files["images.zip"] = zip_of({"images/other.mha": bytes(90_000)})
    with pytest.raises(UserError, match=r"images\.zip.*wrong SHA-256.*deleted"):
        run(shelf, tmp_path, only=["images"])
    assert shelf.asked("images.zip")[-1] == ""
    assert not names(tmp_path)
    shelf.files["images.zip"] = FILES["images.zip"]
    run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {"images"}


def test_a_damaged_part_is_found_by_the_checksum(shelf, tmp_path):
    shelf.cut_after = [20_000, 40_000, 0]
    with pytest.raises(UserError):
        run(shelf, tmp_path, only=["images"])
    part = tmp_path / ROOM / "images.zip.part"
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(UserError, match="wrong SHA-256"):
        run(shelf, tmp_path, only=["images"])
    assert not names(tmp_path)


def test_what_is_no_table_is_deleted(shelf, tmp_path):
    shelf.files["overview.csv"] = b"<html>sign in</html>\n"
    with pytest.raises(UserError, match=r"overview\.csv: what came has no column 'name' and was deleted"):
        run(shelf, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_too_little_room_is_told_before_anything_is_fetched(shelf, tmp_path, monkeypatch):
    """Zips, tables and what the zips hold, which their ends tell, to the byte."""
    needed = sum(len(content) for files in (FILES, IMAGES, MASKS) for content in files.values())
    free = SimpleNamespace(free=needed - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    with pytest.raises(UserError, match=r"kB are needed for the files and .* kB are free"):
        run(shelf, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert all(shelf.asked(name).count("") == 0 for name in FILES)
    free.free = needed
    run(shelf, tmp_path / "new")
    assert names(tmp_path / "new") == WHOLE


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


def test_a_disk_that_fills_up_leaves_nothing(shelf, tmp_path, monkeypatch):
    fill_up(monkeypatch, "images.zip.part", 50_000)
    with pytest.raises(UserError, match="disk is full"):
        run(shelf, tmp_path / "new", only=["images"])
    assert not (tmp_path / "new").exists()


def test_a_disk_that_fills_up_while_unpacking_leaves_the_zip_alone(shelf, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fill_up(patch, "3_t1.mha", 500)
        with pytest.raises(UserError, match=r"images: the disk is full.*kept but images\.zip"):
            run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {ROOM}
    assert names(tmp_path / ROOM) == {"images.zip"}
    before = len(shelf.requests)
    run(shelf, tmp_path, only=["images"])
    assert len(shelf.requests) == before
    assert names(tmp_path) == {"images"}


def test_interrupted_unpacking_leaves_no_folder(shelf, tmp_path, monkeypatch):
    usual, copied = zips.extract, []

    def interrupted(*args: Any) -> str:
        copied.append(args)
        if len(copied) == 3:
            raise KeyboardInterrupt
        return usual(*args)

    with monkeypatch.context() as patch:
        patch.setattr(zips, "extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(shelf, tmp_path, only=["images"])
    assert names(tmp_path / ROOM) == {"images.zip"}
    assert names(tmp_path) == {ROOM}
    run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {"images"}


def test_an_interrupted_check_loses_nothing(shelf, tmp_path, monkeypatch):
    def interrupted(*args: Any, **kwargs: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.hash_matches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(shelf, tmp_path, only=["images"])
    assert names(tmp_path / ROOM) == {"images.zip.part", "images.zip.part.json"}
    run(shelf, tmp_path, only=["images"])
    assert names(tmp_path) == {"images"}
    assert shelf.asked("images.zip").count("") == 1


def test_what_a_killed_run_left_is_removed(shelf, tmp_path):
    (tmp_path / ROOM / "images.unpacking").mkdir(parents=True)
    (tmp_path / ROOM / "images.unpacking" / "1_t1.mha").touch()
    (tmp_path / ROOM / "tmpabcd").touch()
    (tmp_path / ROOM / "images.zip").write_bytes(b"half of it")
    run(shelf, tmp_path)
    assert names(tmp_path) == WHOLE


def test_paths_that_leave_the_folder_are_refused(tmp_path):
    evil = zip_of({"images/1_t1.mha": b"1", "../evil.txt": b"2"})
    with (
        serving(Shelf({"images.zip": evil})) as shelf,
        pytest.raises(UserError, match=r"images\.zip: '\.\./evil\.txt' would be written outside"),
    ):
        run(shelf, tmp_path / "in" / "out", dataset=dataset_of(shelf.files), only=["images"])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("damage", ["no zip", "damaged within"])
def test_damaged_zips_are_refused(tmp_path, damage):
    content = FILES["images.zip"]
    content = b"x" * 1000 if damage == "no zip" else content[:5000] + b"damage" + content[5006:]
    with (
        serving(Shelf({"images.zip": content})) as shelf,
        pytest.raises(UserError, match=r"images\.zip: is not a zip, or is truncated"),
    ):
        run(shelf, tmp_path / "out", dataset=dataset_of(shelf.files), only=["images"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda out: (out / "images" / "2_t1.mha").unlink(), "lacks 1 of 5 files, 2_t1.mha"),
        (lambda out: (out / "images" / "2_t1.mha").write_bytes(b""), "2_t1.mha for example"),
        (lambda out: (out / "images" / unpacking.RECORD).unlink(), "not made by this command"),
        (lambda out: (out / "overview.csv").write_bytes(b"name,sex\n1"), "row 2"),
    ],
)
def test_what_is_there_but_not_whole_is_named_and_stays(shelf, tmp_path, spoil, reason):
    run(shelf, tmp_path)
    spoil(tmp_path)
    before, files = len(shelf.requests), bytes_in(tmp_path / "images")
    with pytest.raises(UserError, match=reason):
        run(shelf, tmp_path)
    assert len(shelf.requests) == before
    assert bytes_in(tmp_path / "images") == files


def test_a_zip_of_ones_own_is_never_written_over(shelf, tmp_path):
    (tmp_path / "images.zip").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"images\.zip: is another file"):
        run(shelf, tmp_path)
    assert (tmp_path / "images.zip").read_bytes() == b"mine"


def test_servers_that_tell_little_serve_too(shelf, tmp_path):
    shelf.heads = shelf.lengths = shelf.ranges = shelf.etags = False
    run(shelf, tmp_path)
    assert names(tmp_path) == WHOLE


def test_a_folder_that_cannot_be_written(shelf, tmp_path, monkeypatch):
    def refused(**kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(UserError, match=r"new: cannot be written \(Permission denied\)"):
        run(shelf, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not shelf.requests


def test_a_file_in_place_of_the_folder(shelf, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file: cannot be written"):
        run(shelf, tmp_path / "file")
    assert not shelf.requests


def test_one_process_a_folder(shelf, tmp_path):
    with working_room(tmp_path, []), pytest.raises(UserError, match="another process"):
        run(shelf, tmp_path)


def test_hidden_files_in_a_zip_are_told(tmp_path):
    content = zip_of({"images/1_t1.mha": b"1", "images/.DS_Store": b"2"})
    with serving(Shelf({"images.zip": content})) as shelf:
        report = run(shelf, tmp_path, dataset=dataset_of(shelf.files), only=["images"])
    assert report.notes == ["images.zip: 1 hidden files were left out, images/.DS_Store for example"]


def test_what_was_downloaded_is_converted(tmp_path, monkeypatch, capsys):
    """By the command, from a made-up SPIDER in zips like the published ones."""
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
    assert output.err.startswith(f"error: {shelf.url}/overview.csv: the server answered {status}")
    assert "CC BY 4.0" in output.out
    assert not (tmp_path / "x").exists()


def test_an_interrupted_command_is_one_line(tmp_path, capsys, monkeypatch):
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nnunetv2_spinesegdiff.downloads.download.download", interrupted)
    assert cli.main(["download", "-o", str(tmp_path)]) == 1
    assert "goes on where this one stopped" in capsys.readouterr().err


def test_an_unpacked_zip_is_known_by_its_record(tmp_path):
    archive = tmp_path / "images.zip"
    archive.write_bytes(zip_of({"images/a/1.mha": b"123", "images/2.mha": b""}))
    room = tmp_path / "room"
    room.mkdir()
    members = unpacking.unpack(archive, tmp_path / "images", room, "ab")
    assert members.size == 3
    assert (tmp_path / "images" / "a" / "1.mha").read_bytes() == b"123"
    assert unpacking.what_is_wrong(tmp_path / "images", "ab") == ""
    assert "another version" in unpacking.what_is_wrong(tmp_path / "images", "cd")
    assert zipfile.is_zipfile(archive)
    assert not names(room)
