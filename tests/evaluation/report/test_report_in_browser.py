"""In a browser the page shows its pictures, sorts its tables and asks the network for nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from html import escape
from typing import Any

import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.report.cohort import Cohort
from nnunetv2_spinesegdiff.pages.cells import mean_and_spread, p_value

from ...helpers.browser import CHROMIUM, look
from ...helpers.evaluations import (
    comparison,
    everything,
    make_evaluation,
    pathology,
    pathology_row,
    write_report,
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium, and there is none on the PATH")

MEASURE = """async () => ({
  images: [...document.images].map((image) => image.naturalWidth),
  text: document.body.innerText.length,
  buttons: document.querySelectorAll("th button").length,
  evil: document.body.dataset.evil || "",
  columns: [...document.querySelectorAll("table.sortable")].flatMap((table) =>
    [...table.tHead.rows[0].cells].filter((head) => head.querySelector("button")).map((head) => {
      const read = () => [...table.tBodies[0].rows].map((row) => row.cells[head.cellIndex].textContent);
      const before = read();
      head.querySelector("button").click();
      const [up, says] = [read(), head.getAttribute("aria-sort")];
      head.querySelector("button").click();
      const [down, then] = [read(), head.getAttribute("aria-sort")];
      const marked = table.querySelectorAll("[aria-sort]").length;
      const numeric = head.classList.contains("number");
      return { name: head.textContent, numeric, before, up, down, says, then, marked };
    })),
})"""
FRAMES = """async () => {
  const frames = [...document.querySelectorAll("iframe")];
  return frames.map((frame) => ({
    text: frame.contentDocument.body.innerText,
    images: [...frame.contentDocument.images].map((image) => image.naturalWidth),
    buttons: frame.contentDocument.querySelectorAll("th button").length,
  }));
}"""


@pytest.fixture(scope="module")
def html(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("page")
    evaluation = make_evaluation(folder / "evaluation", ["e", "b", "d", "a", "c"])
    evil = "<script>document.body.dataset.evil = 'yes'</script>"
    pairs = [("Stage 1", "Refined", 0.2, 0.0001), ("Stage 1", "Refined", -0.05, 0.3)]
    more = everything(folder)
    more["comparisons"] = pd.DataFrame(
        [comparison(*pair, structure=name) for pair, name in zip(pairs, ("ivd", "canal"), strict=True)]
    )
    means = [0.812, math.nan, 0.9, 0.95, 0.812]
    more["pathology"] = pathology(
        *(
            pathology_row(mean_present=m, sd_present=m / 50, present=n, finding=f"f{n}")
            for n, m in enumerate(means, 3)
        )
    )
    mixed = {
        "what": ["b", "a", evil],
        "mean": [mean_and_spread(m, 0.03, 2) for m in (0.91, math.nan, 0.0912)],
        "p": [p_value(p) for p in (0.0009, 0.0004, 0.9)],
    }
    more["cohort"] = Cohort({"Mixed": pd.DataFrame(mixed)}, ())
    return write_report(folder, evaluation, **more)


@pytest.fixture(scope="module")
def seen(html, tmp_path_factory) -> tuple[dict[str, Any], list[str]]:
    return look(html, MEASURE, tmp_path_factory.mktemp("seen"))


def number_of(text: str) -> float:
    """Read by other means than the page's own."""
    value = float(text.replace("\N{MINUS SIGN}", "-").lstrip("< +").split()[0])
    return value - 1e-9 if text.startswith("<") else value


def natural(text: str) -> list[Any]:
    """Case does not count, and 10 comes after 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text.casefold())]


def wrongly_sorted(columns: list[dict[str, Any]]) -> list[str]:
    """Names of the columns that a click does not sort upwards, or a second one downwards."""
    wrong = []
    for column in columns:
        known = [text for text in column["before"] if text and not text.startswith("n/a")]
        key: Callable[[str], Any] = number_of if column["numeric"] else natural
        rest = len(column["before"]) - len(known)
        as_expected = all(
            [key(text) for text in shown[: len(known)]] == sorted(map(key, known), reverse=reverse)
            and sorted(shown) == sorted(column["before"])
            and all(not text or text.startswith("n/a") for text in shown[len(shown) - rest :])
            for shown, reverse in ((column["up"], False), (column["down"], True))
        )
        aria = (column["says"], column["then"], column["marked"]) == ("ascending", "descending", 1)
        wrong += [] if as_expected and aria else [column["name"]]
    return wrong


def test_pictures_are_shown_and_nothing_is_requested_or_run(html, seen):
    found, addresses = seen
    assert len(found["images"]) == 1 + 5 * 5
    assert min(found["images"]) > 0
    assert addresses == []
    assert "dataset.evil" in html
    assert found["evil"] == ""


def test_a_click_sorts_a_column_and_another_one_turns_it(seen):
    columns = seen[0]["columns"]
    assert wrongly_sorted(columns) == []
    assert len([column for column in columns if column["numeric"]]) > 20
    with_finding = next(column for column in columns if column["name"] == "With")
    ties = [text for text in with_finding["before"] if text.startswith("0.812")]
    assert [text[:5] for text in with_finding["up"]] == ["0.812", "0.812", "0.900", "0.950", "n/a ("]
    assert with_finding["up"][:2] == with_finding["down"][2:4] == ties, "equal rows stay in order"
    mixed = next(c for c in columns if c["name"] == "p" and "0.900" in c["before"])
    assert mixed["up"] == ["< 0.001", "< 0.001", "0.900"]


def test_without_scripts_everything_can_be_read(html, tmp_path):
    frames = [
        f'<iframe sandbox="{allowed}" srcdoc="{escape(html)}"></iframe>'
        for allowed in ("allow-same-origin", "allow-same-origin allow-scripts")
    ]
    parent = f"<!doctype html><html><body>{''.join(frames)}</body></html>"
    (without, with_scripts), _ = look(parent, FRAMES, tmp_path)
    assert without["buttons"] == 0, "no button that does nothing"
    assert with_scripts["buttons"] > 20
    assert min(without["images"]) > 0
    words = re.sub(r"[\s\u2195]+", " ", with_scripts["text"])
    assert re.sub(r"\s+", " ", without["text"]) == words
    for heading in ("Is it better?", "Cases, the worst first", "What was run"):
        assert heading in without["text"]


@pytest.mark.parametrize("with_policy", [True, False])
def test_the_page_forbids_outside_requests_and_the_same_checks_find_what_is_planted(
    html, tmp_path, with_policy
):
    outside = '<img src="http://planted.example/a.png" alt=""></body>'
    broken = html.replace("</body>", outside)
    if not with_policy:
        broken = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", broken)
        broken = broken.replace("data:image/jpeg;base64,", "data:image/jpeg;base64,AAAA", 1)
        broken = broken.replace('data-value="0.9', 'data-value="-0.9')
    found, addresses = look(broken, MEASURE, tmp_path)
    assert found["images"].count(0) == (1 if with_policy else 2)
    assert any("planted.example" in address for address in addresses) != with_policy
    assert ("With" in wrongly_sorted(found["columns"])) != with_policy
