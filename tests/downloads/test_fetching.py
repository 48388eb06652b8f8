"""Partial files are continued, and other servers and failures are handled."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff import __version__
from nnunetv2_spinesegdiff.downloads.fetching import (
    BLOCK,
    ConnectionLost,
    Remote,
    ResumingDownloader,
    Server,
)
from nnunetv2_spinesegdiff.errors import UserError

from .serving import Shelf, serving

CONTENT = random.Random(0).randbytes(300_000)
NO_WAIT = (0.0, 0.0)


@pytest.fixture
def shelf():
    with serving(Shelf({"a.bin": CONTENT})) as shelf:
        yield shelf


def downloader(folder: Path, server: Server) -> ResumingDownloader:
    return ResumingDownloader(server, folder / "a.bin")


def fetch(shelf: Shelf, folder: Path) -> bytes:
    output = folder / "pooch's"
    output.touch()
    with Server(NO_WAIT) as server:
        downloader(folder, server)(f"{shelf.url}/a.bin", str(output), None)
    return output.read_bytes()


def test_requests_hold_only_the_name_of_the_package(shelf, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert fetch(shelf, tmp_path) == CONTENT
    assert {name.lower() for name in shelf.headers[0]} <= {
        *("host", "user-agent", "accept", "accept-encoding", "connection")
    }
    assert shelf.headers[0]["User-Agent"] == f"spinesegdiff/{__version__}"


@pytest.mark.parametrize("blocks", [[6], [1, 4, 0], [1] * 7, [0, 0], [2, 0, 3, 0, 2]])
def test_cut_connections_are_continued(shelf, tmp_path, blocks):
    """More cuts than attempts, even, as long as attempts make progress; no byte is sent twice."""
    shelf.cut_after = [number * BLOCK for number in blocks]
    assert fetch(shelf, tmp_path) == CONTENT
    assert shelf.sent == len(CONTENT)
    reached = [sum(blocks[: number + 1]) * BLOCK for number in range(len(blocks))]
    assert shelf.asked("a.bin") == ["", *(f"bytes={have}-" if have else "" for have in reached)]


@given(cut=st.integers(0, len(CONTENT)))
@settings(max_examples=20)
def test_less_than_a_block_is_lost_wherever_the_connection_is_cut(cut):
    with serving(Shelf({"a.bin": CONTENT}, [cut])) as shelf, tempfile.TemporaryDirectory() as folder:
        assert fetch(shelf, Path(folder)) == CONTENT
        assert len(CONTENT) <= shelf.sent < len(CONTENT) + BLOCK


def test_a_later_run_requests_the_rest_and_nothing_of_a_complete_part(shelf, tmp_path):
    shelf.cut_after = [7 * BLOCK, 0, 0]
    with pytest.raises(UserError):
        fetch(shelf, tmp_path)
    assert (tmp_path / "a.bin.part").stat().st_size == 7 * BLOCK
    assert fetch(shelf, tmp_path) == CONTENT
    assert shelf.sent == len(CONTENT)
    requests = len(shelf.requests)
    assert fetch(shelf, tmp_path) == CONTENT
    assert len(shelf.requests) == requests


def test_a_server_without_ranges_sends_everything_again(shelf, tmp_path):
    shelf.ranges, shelf.cut_after = False, [100_000]
    assert fetch(shelf, tmp_path) == CONTENT
    assert shelf.sent == len(CONTENT) + 100_000


@pytest.mark.parametrize("etags", [True, False])
def test_a_changed_file_is_downloaded_from_its_start(shelf, tmp_path, etags):
    """Known by its tag, or by its size alone."""
    shelf.etags, shelf.cut_after = etags, [100_000, 0, 0]
    with pytest.raises(UserError):
        fetch(shelf, tmp_path)
    shelf.files["a.bin"] = new = random.Random(1).randbytes(200_000)
    assert fetch(shelf, tmp_path) == new


def test_attempts_end_without_progress(shelf, tmp_path):
    """A server that starts again, and is cut each time, makes none."""
    shelf.ranges, shelf.cut_after = False, [5] * 20
    with pytest.raises(UserError, match="cut"):
        fetch(shelf, tmp_path)
    assert len(shelf.requests) <= 2 * (len(NO_WAIT) + 1)


def test_only_busy_servers_are_asked_again(shelf, tmp_path, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    shelf.statuses = [429, 503]
    assert fetch(shelf, tmp_path) == CONTENT
    assert slept == [7, 0]  # the first with Retry-After
    (tmp_path / "a.bin.part").unlink()
    shelf.statuses, before = [404], len(shelf.requests)
    with pytest.raises(UserError, match="404"):
        fetch(shelf, tmp_path)
    assert len(shelf.requests) == before + 1


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("https://{}/a.bin", "certificate"),
        ("http://127.0.0.1:9/a.bin", "Connection refused"),
        ("nowhere", "nowhere"),
    ],
)
def test_servers_that_cannot_be_used_are_one_line(shelf, url, cause):
    """Here the first knows no encryption at all."""
    with pytest.raises(UserError, match=cause) as caught, Server((0.0,)) as server:
        server.describe(url.format(shelf.url.removeprefix("http://")))
    assert "\n" not in str(caught.value)
    assert not shelf.requests


def test_waits_grow_with_failures_and_start_again_with_progress(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    heights = iter([0, 0, 1, 1, 1, 1, 9])
    reached = [0]

    def attempt() -> None:
        reached[0] = next(heights)
        raise ConnectionLost("cut", wait=30.0 if len(slept) == 1 else 0.0)

    with pytest.raises(UserError, match="cut"):
        Server((1, 2, 4)).retry(attempt, "url", lambda: reached[0])
    assert slept == [1, 30, 1, 2, 4]
    assert list(heights) == [9]


@pytest.mark.parametrize("heads", [True, False])
def test_files_are_described(shelf, heads):
    shelf.heads, url = heads, f"{shelf.url}/a.bin"
    with Server(NO_WAIT) as server:
        remote = server.describe(url)
        assert server.last_bytes(url, len(CONTENT), 1000) == CONTENT[-1000:]
        shelf.ranges = False
        assert server.last_bytes(url, len(CONTENT), 1000) == b""
    assert remote.size == len(CONTENT)
    assert remote.etag


@pytest.mark.parametrize(
    ("note", "kept"),
    [
        *((note, 5) for note in ('{"size": 10, "etag": "x"}', '{"size": null, "last_modified": "y"}')),
        *((note, 0) for note in ('{"size": 11, "etag": "x"}', '{"size": 10, "etag": "y"}', '{"size": 4}')),
        *((note, 0) for note in (None, "", "{}", "[]", '{"length": 3}')),
    ],
)
def test_only_a_part_of_the_same_file_is_kept(tmp_path, note, kept):
    (tmp_path / "a.bin.part").write_bytes(b"12345")
    if note is not None:
        (tmp_path / "a.bin.part.json").write_text(note)
    assert downloader(tmp_path, Server()).keep_only(Remote(10, "x")) == kept
    assert bool(list(tmp_path.iterdir())) == bool(kept)
