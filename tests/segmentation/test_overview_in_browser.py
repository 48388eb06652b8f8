"""In a browser the page of scans shows the pictures next to it, sorts, and asks the network for nothing."""

from __future__ import annotations

import shutil

import pytest

from nnunetv2_spinesegdiff.segmentation.outputs import ScanOutputs
from nnunetv2_spinesegdiff.segmentation.overview import OVERVIEW, write_overview

from ..helpers.browser import CHROMIUM, look
from ..helpers.evaluations import png

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, and there is none on the PATH")

NAMES = ("two words", "Rücken", "a#b", "50%20", 'it\'s "x"', "a<b>&amp;", "a?b=c", "a:b")
MEASURE = """async () => {
  const images = [...document.images];
  for (const image of images) image.loading = "eager";
  for (let turn = 0; turn < 40 && !images.every((image) => image.complete); turn++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const table = document.querySelector("table");
  const column = (place) => [...table.tBodies[0].rows].map((row) => row.cells[place].textContent.trim());
  const head = (name) => [...table.tHead.rows[0].cells].find((one) => one.textContent.trim() === name);
  const click = (name) => {
    head(name).querySelector("button").click();
    return column(head(name).cellIndex);
  };
  return {
    sizes: images.map((image) => [image.naturalWidth, image.naturalHeight]),
    stated: images.map((image) => [image.width > 0, image.getAttribute("width")]),
    first: column(0),
    agreement: [click("Lowest agreement"), click("Lowest agreement")],
    confidence: [click("Confidence of levels"), click("Confidence of levels")],
    names: [click("Scan"), click("Scan")],
    evil: document.body.dataset.evil || "",
    wider: document.documentElement.scrollWidth - innerWidth,
  };
}"""


def record(place: int) -> dict:
    """The agreement falls with the place."""
    row = {"slice": 3, "structure": "ivd", "number": 1, "level": "L5-S1", "low_agreement": False}
    confidence = ("high", "low", "given", "moderate")[place % 4]
    evil = "<img src=x onerror=\"document.body.dataset.evil = 'yes'\">"
    return {
        "warnings": [evil],
        "measurements": [{**row, "agreement": 0.99 - place / 100, "mean_uncertainty": place / 100}],
        "levels": {"confidence": confidence},
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    out, folder = (tmp_path_factory.mktemp(name) for name in ("out", "seen"))
    for name in NAMES:
        png(ScanOutputs(out, name).overlay)
    records = {name: record(place) for place, name in enumerate(NAMES)}
    write_overview(out, {**records, "failed": {"failure": "damaged"}})
    for picture in out.glob("*.png"):
        shutil.copy(picture, folder)
    return look((out / OVERVIEW).read_text(encoding="utf-8"), MEASURE, folder)


def test_every_picture_is_shown_and_nothing_is_requested_or_run(seen):
    found, addresses = seen
    assert len(found["sizes"]) == len(NAMES)
    assert all(width > 0 and height > 0 for width, height in found["sizes"])
    assert found["stated"] == [[True, str(width)] for width, _ in found["sizes"]]
    assert addresses == []
    assert found["evil"] == ""
    assert found["wider"] <= 0


def test_a_click_sorts_and_another_one_turns_it(seen):
    found, _ = seen
    assert found["first"][0] == "failed"
    falling = [f"{0.99 - place / 100:.2f} (L5-S1)" for place in range(len(NAMES))]
    assert found["agreement"] == [[*falling[::-1], ""], [*falling, ""]], "what is missing is last both ways"
    upward = [name for name in ("low", "moderate", "high", "given") for _ in range(2)]
    assert found["confidence"] == [[*upward, ""], [*upward[::-1], ""]]
    up, down = found["names"]
    assert sorted(up) == sorted([*NAMES, "failed"])
    assert up == down[::-1]
    assert up.index("50%20") < up.index("a#b") < up.index("failed") < up.index("two words")
