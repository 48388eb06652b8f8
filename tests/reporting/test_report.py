"""The whole page: what it holds, what it must not hold, and how large it is."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.evaluation.report import report as report_module
from nnunetv2_spinesegdiff.evaluation.report.claim_section import NO_CONTROL
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.figures_folder import FigureEntry
from nnunetv2_spinesegdiff.evaluation.report.report import run_report

from .page_evaluation import SYSTEMS, comparison, make_evaluation, pathology_row, summary_tables
from .test_sections import png

VOID = {"meta", "link", "img", "br", "hr", "input"}
EVIL = "<script>document.body.dataset.evil = 'yes'</script>"


class Page(HTMLParser):
    """Elements with their attributes, text, and whether every element is closed in order."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.wrong: list[str] = []
        self.opened: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) != len(attrs):
            self.wrong.append(f"{tag} has an attribute twice")
        if tag not in VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        if not self.opened or self.opened.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if not self.opened or self.opened[-1] not in ("style", "script"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def external(html: str) -> list[str]:
    """Whatever a browser might load from elsewhere: addresses in attributes and in CSS that are no data."""
    page = Page(html)
    loading = ("src", "srcset", "href", "poster", "data", "action", "formaction", "background", "xlink:href")
    found = [str(a[name]) for _, a in page.elements for name in loading if a.get(name)]
    found += re.findall(r"url\(\s*['\"]?([^'\")]*)", html) + re.findall(r"@import[^;]*", html)
    return [address for address in found if not address.startswith(("data:", "#"))]


def write(folder: Path, evaluation, **more) -> str:
    tables = summary_tables(evaluation)
    out = run_report(evaluation.folder, folder / "report.html", tables=tables, **more)
    assert out == folder / "report.html"
    return out.read_text(encoding="utf-8")


def everything(folder: Path) -> dict:
    return {
        "comparisons": pd.DataFrame([comparison("Stage 1", "Refined", 0.2, 0.01)]),
        "figures": [FigureEntry("Boxes", "Dice of all cases", png(folder / "boxes.png"))],
        "figure_notes": ["No pairs were drawn."],
        "cohort": {"Patients": pd.DataFrame({"women": ["3 (60 %)"]})},
        "pathology": pd.DataFrame([pathology_row()]),
        "pathology_notes": ["Findings at any level count."],
        "commands": ["spinesegdiff report evaluation -o report.html"],
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report with every section, and its parsed page."""
    folder = tmp_path_factory.mktemp("whole")
    evaluation = make_evaluation(folder / "evaluation", left_out=("case9 has no mask",), notes=("A note.",))
    html = write(folder, evaluation, **everything(folder))
    return html, Page(html)


def test_it_is_well_formed(whole):
    _, page = whole
    assert page.wrong == []
    assert page.opened == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(a["href"]) for a in page.all("a")]
    assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_sections_come_in_order_with_a_table_of_contents(whole):
    html, _ = whole
    titles = re.findall(r'<h2 id="title-\d+">(.*?)</h2>', html)
    assert titles == [
        "Scores",
        "Is it better?",
        "Structures found and missed",
        "Distances",
        "Figures",
        "Pathology",
        "Patients and scans",
        "Cases, the worst first",
        "Left out, and notes",
        "What was run",
    ]
    assert re.findall(r'<li><a href="#section-\d+">(.*?)</a></li>', html) == titles


def test_the_summary_says_who_was_evaluated_on_what(whole):
    _, page = whole
    assert (
        "3 systems were evaluated on 4 cases of 2 patients in 2 folds: Stage 1; Twice as long, which is a "
        "control; and Refined. Mean Dice over structures is " in page.text
    )
    assert "1 case could not be scored and was left out; “Left out, and notes” names it." in page.text
    for given in (
        "case9 has no mask",
        "A note.",
        "No pairs were drawn.",
        "Findings at any level count.",
        "3 (60 %)",
        "Dice of all",
    ):
        assert given in page.text


def test_it_can_be_read_by_those_who_do_not_see_it(whole):
    html, page = whole
    assert page.all("html") == [{"lang": "en"}]
    assert all((image.get("alt") or "").strip() for image in page.all("img"))
    assert all(image["width"] and image["height"] for image in page.all("img"))
    assert all(head.get("scope") in ("col", "row") for head in page.all("th"))
    assert html.count("<caption>") == html.count("<table ")


def test_it_loads_nothing(whole):
    html, page = whole
    assert external(html) == []
    (policy,) = (m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert len(page.all("img")) == 1 + 4 * 5
    assert all(str(image["src"]).startswith("data:image/") for image in page.all("img"))


@pytest.mark.parametrize(
    "planted",
    [
        '<img src="https://example.org/a.png">',
        '<link rel="stylesheet" href="//example.org/a.css">',
        "<style>body { background: url(http://example.org/a.png) }</style>",
        "<style>@import 'http://example.org/a.css';</style>",
        '<script src="a.js"></script>',
    ],
)
def test_what_loads_something_would_be_found(whole, planted):
    html, _ = whole
    assert external(html.replace("</body>", f"{planted}</body>"))


def test_texts_of_others_are_harmless(tmp_path):
    evil = [System(f"S{EVIL}", f'T"1{EVIL}', settings={EVIL: EVIL}), System("B", control=True)]
    cases = [EVIL, '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "$x_1$"]
    evaluation = make_evaluation(
        tmp_path / "evaluation",
        cases,
        evil,
        left_out=(EVIL,),
        notes=(EVIL,),
        made_with={"command": EVIL, "version": EVIL},
    )
    row = comparison(evil[0].name, "B", 0.2, 0.01, data_a=evil[0].data, system_a=evil[0].name)
    html = write(
        tmp_path,
        evaluation,
        title=EVIL,
        comparisons=pd.DataFrame([row]),
        figures=[FigureEntry(EVIL, EVIL, png(tmp_path / "a.png"))],
        cohort={EVIL: pd.DataFrame({EVIL: [EVIL]})},
        pathology=pd.DataFrame([pathology_row(system=EVIL, finding=EVIL, reason=EVIL)]),
        pathology_notes=[EVIL],
        commands=[EVIL],
    )
    page = Page(html)
    assert page.wrong == []
    assert len(page.all("script")) == 1
    assert "evil" not in html[html.index("<script>") :]
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert not [image for image in page.all("img") if image["src"] == "x"]
    for case in cases:
        assert case in page.text
    assert page.text.count(EVIL) > 20


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """An evaluation whose every text names folders and the machine."""
    monkeypatch.setattr(socket, "gethostname", lambda: "ward7-ws")
    folder = tmp_path / "St. Mary" / "Jane Doe"
    told = f"{folder}/files/masks0/case0.nii.gz on ward7-ws, {Path.home()}/x and /mnt/pacs/7"
    systems = [System("A", settings={"input": told, "deep": {"list": [told]}}), System("B")]
    evaluation = make_evaluation(
        folder / "evaluation",
        ["a", "b"],
        systems,
        left_out=(told,),
        notes=(told,),
        made_with={"command": told},
    )
    more = {**everything(folder), "commands": [told], "pathology_notes": [told]}
    more["comparisons"] = pd.DataFrame([comparison("A", "B", 0.2, 0.01)])
    more["figures"] = [
        FigureEntry("F", told, png(folder / "f.png")),
        FigureEntry("G", told, folder / "g.png"),
    ]
    return folder, evaluation, more


SECRETS = ("ward7-ws", "St. Mary", "Jane Doe", "/mnt", "pacs", "masks0/")


def without_pictures(html: str) -> str:
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)


def test_no_folder_and_no_machine_is_named(planted):
    folder, evaluation, more = planted
    (folder / "files" / "images" / "case0_0000.nii.gz").unlink()
    html = without_pictures(write(folder, evaluation, **more))
    assert "is not there any more" in html
    for secret in (*SECRETS, str(folder), str(Path.home()) + "/", str(Path.cwd())):
        assert secret not in html, secret
    assert html.count("case0.nii.gz") >= 8, "names of files stay"


def test_whole_paths_are_written_where_they_are_wanted(planted):
    folder, evaluation, more = planted
    html = without_pictures(write(folder, evaluation, whole_paths=True, **more))
    for secret in SECRETS:
        assert secret in html, secret


def test_without_a_control_the_page_says_so_where_claims_are(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation", systems=[System("Stage 1"), System("Refined")])
    html = write(tmp_path, evaluation, **everything(tmp_path))
    section = html[html.index("Is it better?</h2>") :]
    assert NO_CONTROL in section[: section.index("</section>")]


def test_with_a_control_the_page_does_not(whole):
    assert NO_CONTROL not in whole[0]


def test_what_was_not_given_is_said(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation", ["a", "b"], SYSTEMS[:1])
    evaluation.cases["fold"] = ""
    page = Page(write(tmp_path, evaluation))
    assert "One system was evaluated on 2 cases of 1 patient" in page.text
    assert "No case was left out." in page.text
    assert "as they were not given: figures; pathology; and patients and scans." in page.text
    assert "Only one system was evaluated: there is nothing to compare it with." in page.text


def test_systems_with_other_cases_are_told(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation", ["a", "b"], SYSTEMS[:2])
    keep = (evaluation.cases["case"] != "b") | (evaluation.cases["system"] != "Stage 1")
    told = report_module.summary_of(
        report_module.Evaluation(
            evaluation.folder,
            evaluation.structures,
            evaluation.systems,
            evaluation.scores,
            evaluation.cases[keep],
        ),
        summary_tables(evaluation)["dice"],
    )
    assert "Not all on the same cases: Stage 1 on 1 and Twice as long on 2." in told[0]


def test_tables_may_come_from_csv_files(tmp_path):
    """Empty fields are read as numbers that are none, and controls are still known as such."""
    evaluation = make_evaluation(tmp_path / "evaluation")
    more = everything(tmp_path)
    rows = [comparison("Stage 1", "Refined", 0.2, 0.01), comparison("Twice as long", "Refined", 0.1, 0.01)]
    more["comparisons"] = pd.DataFrame(rows)
    tables = summary_tables(evaluation)
    straight = run_report(evaluation.folder, tmp_path / "a.html", tables=tables, **more).read_text()

    def through_csv(table: pd.DataFrame) -> pd.DataFrame:
        table.to_csv(tmp_path / "table.csv", index=False, na_rep="n/a")
        return pd.read_csv(tmp_path / "table.csv")

    for name in ("comparisons", "pathology"):
        more[name] = through_csv(more[name])
    tables = {metric: through_csv(table) for metric, table in tables.items()}
    read = run_report(evaluation.folder, tmp_path / "b.html", tables=tables, **more).read_text()
    assert "Refined is better, also than every control" in read
    assert Page(read).text == Page(straight).text


@pytest.mark.parametrize(
    ("out", "changes", "message"),
    [
        ("report.pdf", {}, r"report\.pdf: a report is an HTML file"),
        ("report.html", {"gallery": -1}, "-1 pictures: ask for 0 or more"),
        ("report.html", {"tables": {}}, "has no table of Dice; make it again with spinesegdiff evaluate"),
        ("report.html", {"order_by": "Best"}, "Best: no such system"),
    ],
)
def test_mistakes_are_told_in_one_line_and_nothing_is_written(tmp_path, out, changes, message):
    evaluation = make_evaluation(tmp_path / "evaluation", ["a"])
    arguments = {"tables": summary_tables(evaluation), **changes}
    with pytest.raises(UserError, match=message) as caught:
        run_report(evaluation.folder, tmp_path / out, **arguments)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / out).exists()


def test_a_folder_without_an_evaluation_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no evaluation\.json; make it with spinesegdiff evaluate"):
        run_report(tmp_path, tmp_path / "a.html", tables={"dice": pd.DataFrame()})


def test_a_report_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    evaluation = make_evaluation(tmp_path / "evaluation", ["a"])
    (tmp_path / "report.html").write_text("old")

    def fails(page):
        raise RuntimeError("disk full")

    monkeypatch.setattr(report_module, "rendered", fails)
    with pytest.raises(RuntimeError):
        write(tmp_path, evaluation)
    assert (tmp_path / "report.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation", "files", "report.html"]


def test_versions_are_told_without_loading_what_is_slow():
    slow = "{'torch', 'nnunetv2', 'monai', 'matplotlib'}"
    code = f"import sys, {report_module.__name__}; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_forty_cases_of_three_systems_stay_small(tmp_path):
    """Scans that are nothing but noise: no real one takes more room."""
    evaluation = make_evaluation(tmp_path / "evaluation", [f"case_{n:03d}" for n in range(45)], size=320)
    start = time.monotonic()
    html = write(tmp_path, evaluation)
    assert html.count("<img ") == 40 * 5
    assert len(html.encode()) < 15e6
    assert time.monotonic() - start < 120
    assert html.count('class="case"') == 40
