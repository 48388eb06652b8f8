"""index.html: one row per scan, the most doubtful first, for every scan of the folder whatever its name."""

from __future__ import annotations

import struct
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from nnunetv2_spinesegdiff.pages.document import document
from nnunetv2_spinesegdiff.segmentation.overview import (
    OVERVIEW,
    Picture,
    overview,
    picture_of,
    write_overview,
)

from ..helpers.html_page import Page
from ..helpers.model_cohort import even_scan, run
from ..helpers.model_spine import write

EVIL = "<script>document.body.dataset.evil = 'yes'</script>"
NAMES = ("two words", "Rücken_é", "a#b", "50%20", 'it\'s "x"', "a<b>&amp;", "a?b=c", "..a", "a:b")


class Rows(HTMLParser):
    """The texts of a table's cells, one dictionary per row, by heading."""

    def __init__(self, html: str):
        super().__init__()
        self.texts: list[list[str]] = []
        self.feed(html)
        headings, *rows = ([text.strip() for text in row] for row in self.texts)
        self.rows = [dict(zip(headings, row, strict=True)) for row in rows]

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.texts.append([])
        if tag in ("th", "td"):
            self.texts[-1].append("")

    def handle_data(self, data):
        if self.texts and self.texts[-1]:
            self.texts[-1][-1] += data


def rows_of(html: str) -> list[dict[str, str]]:
    table = html[html.index("<table ") : html.index("</table>")]
    return Rows(table).rows


def record(
    agreement: float | None = 0.9,
    uncertainty: float = 0.05,
    confidence: str = "high",
    low: bool | None = False,
    warnings: list[str] | None = None,
) -> dict[str, Any]:
    """A record of two vertebrae and a disc; the disc has the lowest agreement and highest uncertainty."""
    parts = [
        ("vertebrae", None, None, False),
        ("ivd", None, None, False),
        ("ivd", 1, "L4-L5", True),
        ("vertebrae", 1, "L5", False),
        ("vertebrae", 2, "L4", False),
    ]
    rows = [
        {
            **{"slice": 7, "structure": structure, "number": number, "level": level},
            "agreement": None if agreement is None else agreement if worst else 0.99,
            "mean_uncertainty": uncertainty if worst else 0.01,
            "low_agreement": low if worst else False,
        }
        for structure, number, level, worst in parts
    ]
    levels = {"confidence": confidence, "names": {"1": "L5"}}
    return {"warnings": warnings or [], "measurements": rows, "levels": levels, "files": {}}


def order_of(records: dict[str, dict[str, Any]]) -> list[str]:
    return [row["Scan"] for row in rows_of(overview(records, {}))]


def test_a_row_states_what_was_found_and_how_sure_it_is():
    made = record(0.876, 0.1234, "moderate", warnings=["first", "second"])
    (row,) = rows_of(overview({"a": made}, {}))
    assert row == {
        "Scan": "a",
        "Warnings": "firstsecond",
        "Vertebrae": "2",
        "Discs": "1",
        "Levels": "L4 L5",
        "Confidence of levels": "moderate",
        "Lowest agreement": "0.88 (L4-L5)",
        "Highest uncertainty": "0.123 (L4-L5)",
        "Slice": "7",
    }


def test_failed_scans_come_first_then_doubtful_ones_and_the_lowest_agreement():
    records = {
        "a high": record(0.97),
        "b low": record(0.95),
        "c no stage 1": record(None, 0.02, low=None),
        "d no stage 1, less certain": record(None, 0.2, low=None),
        "e disagreeing": record(0.7, low=True),
        "f levels unsure": record(0.96, confidence="low"),
        "g failed": {"failure": "damaged"},
        "h failed now": {**record(0.99), "failure": "no series 3"},
    }
    assert order_of(records) == [
        *("h failed now", "g failed"),
        *("e disagreeing", "f levels unsure"),
        *("b low", "a high", "d no stage 1, less certain", "c no stage 1"),
    ]
    assert overview(records, {}) == overview(dict(reversed(records.items())), {})


def test_levels_are_sorted_by_confidence_and_not_by_letters():
    html = overview({name: record(confidence=name) for name in ("high", "low", "given", "moderate")}, {})
    values = [f'data-value="{n}">{name}<' for n, name in enumerate(("low", "moderate", "high", "given"))]
    assert all(html.count(value) == 1 for value in values)


def test_a_failed_scan_states_its_cause_and_what_an_earlier_run_made():
    records = {"a": {"failure": f"a.mha: {EVIL}"}, "b": {**record(warnings=["w"]), "failure": "no series 3"}}
    b, a = rows_of(overview(records, {}))
    assert a["Warnings"] == f"Failed: a.mha: {EVIL}"
    assert {text for heading, text in a.items() if heading not in ("Scan", "Warnings")} == {""}
    assert b["Warnings"] == "Failed: no series 3w"
    assert b["Vertebrae"] == "2"


def test_every_name_is_shown_as_it_is_and_leads_to_its_picture():
    names = [*NAMES, EVIL.replace("/", ":"), "\udcff"]
    pictures = {name: Picture(f"{name}_overlay.png", 1559, 855) for name in names}
    html = overview({name: record(warnings=[EVIL]) for name in names}, pictures)
    page = Page(html)
    assert (page.wrong, page.opened) == ([], [])
    assert [row["Scan"] for row in rows_of(html)] == sorted(names)
    assert len(page.all("script")) == 1
    assert "evil" not in html[html.index("<script>") :]
    for image, name in zip(page.all("img"), sorted(names), strict=True):
        source = str(image["src"])
        assert unquote(source, errors="surrogateescape") == f"{name}_overlay.png"
        assert not set(source) & set("#?:<>\"'& "), "a browser would not look for this file"
        assert (image["width"], image["height"]) == ("1559", "855")
        assert name in str(image["alt"])


def test_the_page_loads_nothing_but_pictures_of_its_own_folder():
    page = Page(overview({"a": record()}, {"a": Picture("a_overlay.png", 2, 1)}))
    (policy,) = (m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data: 'self' file:;")
    assert {address for _, a in page.elements if (address := a.get("src") or a.get("href"))} == {
        *("data:,", "#content", "a_overlay.png")
    }
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))


def test_a_size_is_that_of_a_png_and_nothing_else(tmp_path):
    whole, other, short = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 30, 20)
    whole.write_bytes(header + b"more")
    other.write_bytes(header.replace(b"PNG", b"GIF"))
    short.write_bytes(header[:-1])
    assert picture_of(whole, tmp_path) == Picture("a.png", 30, 20)
    assert [picture_of(path, tmp_path) for path in (other, short, tmp_path / "none.png")] == [None] * 3


@pytest.mark.usefixtures("quick_pictures", "stand_in_model")
def test_all_finished_scans_of_the_folder_are_listed_also_after_resuming(scans, tmp_path):
    out, page = tmp_path / "out", tmp_path / "out" / OVERVIEW
    run(scans / "scan0.nii.gz", out)
    assert [row["Scan"] for row in rows_of(page.read_text())] == ["scan0"]
    write(even_scan(), scans / "scan1.mha")
    run(scans, out)
    html = page.read_text()
    failed, *others = rows_of(html)
    assert failed["Scan"] == "scan1"
    assert failed["Warnings"].startswith(f"Failed: {scans / 'scan1.mha'}: no spine")
    assert sorted(row["Scan"] for row in others) == ["scan0", "scan2"]
    images = sorted(str(image["src"]) for image in Page(html).all("img"))
    assert images == ["scan0_overlay.png", "scan2_overlay.png"], "a failed scan has none"
    assert "3 scans: 1 failed, 0 with warnings, 2 without warnings." in html
    page.unlink()
    run(scans, out, part=(0, 3))
    assert page.read_text() == html, "nothing new, or a part of the scans"


@pytest.mark.usefixtures("quick_pictures", "stand_in_model")
def test_a_page_of_somebody_else_stays(scans, tmp_path):
    page = tmp_path / "out" / OVERVIEW
    page.parent.mkdir()
    page.write_text(document("My own page", "", "spinesegdiff report"))
    before = page.read_text()
    done = run(scans / "scan1.mha", page.parent)
    assert page.read_text() == before
    assert any(str(page) in note for note in done.notes)
    page.unlink()
    assert not run(scans / "scan1.mha", page.parent).notes
    assert len(rows_of(page.read_text())) == 1


def test_a_folder_of_that_name_stays(tmp_path):
    (tmp_path / OVERVIEW).mkdir()
    write_overview(tmp_path, {"a": record()})
    assert list(tmp_path.iterdir()) == [tmp_path / OVERVIEW]


def test_it_is_whole_or_not_there(tmp_path, monkeypatch):
    write_overview(tmp_path, {"a": record()})
    before = (tmp_path / OVERVIEW).read_bytes()

    def full(self: Path, text: str, **_: object) -> int:
        self.write_bytes(text[:100].encode())
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="No space left"):
            write_overview(tmp_path, {"b": record()})
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_a_page_of_hundreds_of_scans_takes_little_time(tmp_path):
    records = {f"scan{number}": record() for number in range(500)}
    started = time.process_time()
    write_overview(tmp_path, records)
    assert time.process_time() - started < 2.0
    assert len(rows_of((tmp_path / OVERVIEW).read_text())) == 500
