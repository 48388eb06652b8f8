from __future__ import annotations

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_spinesegdiff import __version__
from nnunetv2_spinesegdiff.downloads.connection import ConnectionLost, Remote, Server, patiently
from nnunetv2_spinesegdiff.downloads.resuming import _BLOCK as BLOCK
from nnunetv2_spinesegdiff.downloads.resuming import Part, ResumingDownloader
from nnunetv2_spinesegdiff.errors import UserError

from .serving import Shelf, serving

CONTENT = random.Random(0).randbytes(300_000)
NO_WAIT = (0.0, 0.0)


@pytest.fixture
def shelf():
    with serving(Shelf({"a.bin": CONTENT})) as shelf:
        yield shelf


def fetch(shelf: Shelf, folder: Path, waits=NO_WAIT) -> bytes:
    output = folder / "pooch's"
    output.touch()
    with Server(waits) as server:
        ResumingDownloader(server, Part(folder / "a.bin"))(f"{shelf.url}/a.bin", str(output), None)
    return output.read_bytes()


def test_a_file_arrives(shelf, tmp_path):
    assert fetch(shelf, tmp_path) == CONTENT
    assert shelf.asked("a.bin") == [""]


def test_nothing_is_told_but_the_name_of_the_package(shelf, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    fetch(shelf, tmp_path)
    assert {name.lower() for name in shelf.headers[0]} <= {
        *("host", "user-agent", "accept", "accept-encoding", "connection")
    }
    assert shelf.headers[0]["User-Agent"] == f"spinesegdiff/{__version__}"


@pytest.mark.parametrize("blocks", [[6], [1, 4, 0], [1] * 7, [0, 0], [2, 0, 3, 0, 2]])
def test_a_cut_connection_is_gone_on_with(shelf, tmp_path, blocks):
    """More cuts than attempts, even, for as long as attempts bring something; no byte is sent twice."""
    shelf.cut_after = [number * BLOCK for number in blocks]
    assert fetch(shelf, tmp_path) == CONTENT
    assert shelf.sent == len(CONTENT)
    reached = [sum(blocks[: number + 1]) * BLOCK for number in range(len(blocks))]
    assert shelf.asked("a.bin") == ["", *(f"bytes={have}-" if have else "" for have in reached)]


@given(cut=st.integers(0, len(CONTENT)))
@settings(max_examples=20)
def test_wherever_it_is_cut_less_than_a_block_is_lost(cut):
    with serving(Shelf({"a.bin": CONTENT}, [cut])) as shelf, tempfile.TemporaryDirectory() as folder:
        assert fetch(shelf, Path(folder)) == CONTENT
        assert len(CONTENT) <= shelf.sent < len(CONTENT) + BLOCK


def test_a_later_run_asks_for_the_rest(shelf, tmp_path):
    shelf.cut_after = [7 * BLOCK, 0, 0]
    with pytest.raises(UserError, match="the same command again"):
        fetch(shelf, tmp_path)
    assert Part(tmp_path / "a.bin").size() == 7 * BLOCK
    assert fetch(shelf, tmp_path) == CONTENT
    assert shelf.sent == len(CONTENT)


def test_a_server_without_parts_sends_all_of_it_again(shelf, tmp_path):
    shelf.ranges, shelf.cut_after = False, [100_000]
    assert fetch(shelf, tmp_path) == CONTENT
    assert shelf.sent == len(CONTENT) + 100_000


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changed_begins_anew(shelf, tmp_path, etags):
    """Told by its tag, or by its size alone."""
    shelf.etags, shelf.cut_after = etags, [100_000, 0, 0]
    with pytest.raises(UserError):
        fetch(shelf, tmp_path)
    shelf.files["a.bin"] = new = random.Random(1).randbytes(200_000)
    assert fetch(shelf, tmp_path) == new


def test_a_whole_part_is_not_asked_for(shelf, tmp_path):
    fetch(shelf, tmp_path)
    assert fetch(shelf, tmp_path) == CONTENT
    assert shelf.asked("a.bin") == [""]


def test_attempts_end(shelf, tmp_path):
    """A server that begins anew, and is cut each time, makes no progress."""
    shelf.ranges, shelf.cut_after = False, [5] * 20
    with pytest.raises(UserError, match="connection was cut"):
        fetch(shelf, tmp_path)
    assert len(shelf.requests) <= 2 * (len(NO_WAIT) + 1)


def test_busy_servers_are_asked_again_and_others_not(shelf, tmp_path):
    shelf.statuses = [503, 500]
    assert fetch(shelf, tmp_path) == CONTENT
    other = tmp_path / "other"
    other.mkdir()
    shelf.statuses, before = [404], len(shelf.requests)
    with pytest.raises(UserError, match="404 Not Found"):
        fetch(shelf, other)
    assert len(shelf.requests) == before + 1


def test_a_server_may_ask_to_be_left_alone(shelf, tmp_path, monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    shelf.statuses = [429, 503]
    assert fetch(shelf, tmp_path) == CONTENT
    assert slept == [7, 0]


def test_connections_that_are_not_safe_are_refused(shelf):
    """Here the server knows no encryption at all."""
    with pytest.raises(UserError, match="certificate cannot be verified"), Server((0.0,)) as server:
        server.describe(f"{shelf.url.replace('http', 'https')}/a.bin")
    assert not shelf.requests


def test_waits_grow_and_the_server_may_ask_for_more(monkeypatch):
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    failures = iter([ConnectionLost("a"), ConnectionLost("b", 30.0), ConnectionLost("c")])

    def attempt() -> str:
        for failure in failures:
            raise failure
        return "done"

    assert patiently(attempt, "url", (1, 2, 4)) == "done"
    assert slept == [1, 30, 4]


def test_progress_gives_new_attempts(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    heights = iter([1, 2, 3, 4, 5, 5, 5, 5, 5])
    seen = [0]

    def attempt() -> None:
        seen[0] = next(heights)
        raise ConnectionLost("cut")

    with pytest.raises(UserError, match="cut"):
        patiently(attempt, "url", (0, 0), lambda: seen[0])
    assert list(heights) == [5, 5]


@pytest.mark.parametrize("heads", [True, False])
def test_files_are_described(shelf, heads):
    shelf.heads = heads
    with Server(NO_WAIT) as server:
        remote = server.describe(f"{shelf.url}/a.bin")
        assert server.end_of(f"{shelf.url}/a.bin", len(CONTENT), 1000) == CONTENT[-1000:]
        shelf.ranges = False
        assert server.end_of(f"{shelf.url}/a.bin", len(CONTENT), 1000) == b""
    assert remote.size == len(CONTENT)
    assert remote.etag


def test_no_server_is_one_line(tmp_path):
    told = pytest.raises(UserError, match=r"Connection refused.*same command again")
    with told as caught, Server((0.0,)) as server:
        server.describe("http://127.0.0.1:9/a.bin")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (Remote(1, "a", "b"), Remote(1, "a", "b"), False),
        (Remote(1, "a", "b"), Remote(2, "a", "b"), True),
        (Remote(1, "a", "b"), Remote(1, "c", "b"), True),
        (Remote(1, "a", "b"), Remote(1, "a", "c"), True),
        (Remote(None, "a"), Remote(5, "a", "b"), False),
        (Remote(0), Remote(5), True),
        (Remote(None), Remote(5), False),
    ],
)
def test_what_is_told_is_compared(one, other, differs):
    assert one.differs(other) == differs
    assert other.differs(one) == differs


def test_a_part_of_another_file_is_forgotten(tmp_path):
    part = Part(tmp_path / "a.bin")
    part.begin(Remote(10, "x"))
    part.path.write_bytes(b"12345")
    assert part.keep_only_of(Remote(10, "x")) == 5
    assert part.keep_only_of(Remote(11, "x")) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("note", [None, "", "{}", "[]", '{"length": 3}'])
def test_a_part_of_nobody_knows_what_is_forgotten(tmp_path, note):
    part = Part(tmp_path / "a.bin")
    part.path.write_bytes(b"12345")
    if note is not None:
        (tmp_path / "a.bin.part.json").write_text(note)
    assert part.keep_only_of(Remote(10)) == 0
    assert not list(tmp_path.iterdir())
