"""The whole page: what it holds, what it must not hold, and how large it is."""

from __future__ import annotations

import platform
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from nnunetv2_spinesegdiff.evaluation.comparisons import NO_CONTROL
from nnunetv2_spinesegdiff.evaluation.report import report as report_module
from nnunetv2_spinesegdiff.evaluation.report.cohort import Cohort
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System
from nnunetv2_spinesegdiff.evaluation.report.figures_folder import FigureEntry, Figures

from ...helpers.evaluations import (
    SYSTEMS,
    comparison,
    everything,
    make_evaluation,
    pathology,
    pathology_row,
    png,
    write_report,
)
from ...helpers.html_page import Page, external

EVIL = "<script>document.body.dataset.evil = 'yes'</script>"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report with every section, and its parsed page."""
    folder = tmp_path_factory.mktemp("whole")
    evaluation = make_evaluation(folder / "evaluation", left_out=("case9 has no mask",), notes=("A note.",))
    html = write_report(folder, evaluation, **everything(folder))
    return html, Page(html)


def test_it_is_well_formed_and_complete(whole):
    html, page = whole
    assert page.wrong == []
    assert page.opened == []
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(a["href"]) for a in page.all("a")]
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    titles = re.findall(r'<h2 id="title-\d+">(.*?)</h2>', html)
    assert len(titles) == 10
    assert re.findall(r'<li><a href="#section-\d+">(.*?)</a></li>', html) == titles
    for given in (
        "3 systems were evaluated on 4 cases of 2 patients in 2 folds",
        "1 case could not be scored",
        *("case9 has no mask", "A note.", "No pairs were drawn.", "Findings at any level count."),
        *("3 (60 %)", "Dice of all"),
    ):
        assert given in page.text
    assert NO_CONTROL not in html


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


def test_foreign_texts_are_harmless(tmp_path):
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
    html = write_report(
        tmp_path,
        evaluation,
        title=EVIL,
        comparisons=pd.DataFrame([row]),
        figures=Figures((FigureEntry(EVIL, EVIL, png(tmp_path / "a.png")),)),
        cohort=Cohort({EVIL: pd.DataFrame({EVIL: [EVIL]})}, (EVIL,)),
        pathology=pathology(pathology_row(system=EVIL, finding=EVIL, reason=EVIL), notes=[EVIL]),
        commands=[EVIL],
    )
    page = Page(html)
    assert page.wrong == []
    assert len(page.all("script")) == 1
    assert "evil" not in html[html.index("<script>") :]
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    assert not [image for image in page.all("img") if image["src"] == "x"]
    assert all(case in page.text for case in cases)
    assert page.text.count(EVIL) > 20


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """An evaluation whose every text names folders and the machine."""
    monkeypatch.setattr(platform, "node", lambda: "ward7-ws")
    folder = tmp_path / "St. Mary" / "Jane Doe"
    text = f"{folder}/files/masks0/case0.nii.gz on ward7-ws, {Path.home()}/x and /mnt/pacs/7"
    systems = [System("A", settings={"input": text, "deep": {"list": [text]}}), System("B")]
    evaluation = make_evaluation(
        folder / "evaluation",
        ["a", "b"],
        systems,
        left_out=(text,),
        notes=(text,),
        made_with={"command": text},
    )
    more = {**everything(folder), "commands": [text]}
    more["pathology"] = pathology(pathology_row(), notes=[text])
    more["comparisons"] = pd.DataFrame([comparison("A", "B", 0.2, 0.01)])
    more["figures"] = Figures(
        (FigureEntry("F", text, png(folder / "f.png")), FigureEntry("G", text, folder / "g.png"))
    )
    return folder, evaluation, more


SECRETS = ("ward7-ws", "St. Mary", "Jane Doe", "/mnt", "pacs", "masks0/")


def without_pictures(html: str) -> str:
    return re.sub(r"base64,[A-Za-z0-9+/=]+", "", html)


def test_folders_and_the_machine_are_named_only_where_wanted(planted):
    folder, evaluation, more = planted
    (folder / "files" / "images" / "case0_0000.nii.gz").unlink()
    html = without_pictures(write_report(folder, evaluation, **more))
    for secret in (*SECRETS, str(folder), str(Path.home()) + "/", str(Path.cwd())):
        assert secret not in html, secret
    assert html.count("case0.nii.gz") >= 8, "names of files stay"
    html = without_pictures(write_report(folder, evaluation, whole_paths=True, **more))
    for secret in SECRETS:
        assert secret in html, secret


def test_missing_sections_and_controls_are_reported(tmp_path):
    evaluation = make_evaluation(tmp_path / "evaluation", ["a", "b"], [SYSTEMS[0], SYSTEMS[2]])
    html = write_report(tmp_path, evaluation, **everything(tmp_path))
    section = html[html.index("Is it better?</h2>") :]
    assert NO_CONTROL in section[: section.index("</section>")]
    cases = evaluation.cases[(evaluation.cases["case"] != "b") | (evaluation.cases["system"] != "Stage 1")]
    fewer = replace(evaluation, cases=cases)
    assert "Stage 1 on 1 and Refined on 2" in Page(write_report(tmp_path, fewer)).text
    alone = make_evaluation(tmp_path / "alone" / "evaluation", ["a", "b"], SYSTEMS[:1])
    page = Page(write_report(tmp_path / "alone", alone))
    for part in (
        "One system",
        "2 cases of 1 patient",
        "No case was left out",
        "Only one system",
        "not given",
    ):
        assert part in page.text


def test_a_report_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    evaluation = make_evaluation(tmp_path / "evaluation", ["a"])
    (tmp_path / "report.html").write_text("old")

    def fails(page):
        raise RuntimeError("disk full")

    monkeypatch.setattr(report_module, "rendered", fails)
    with pytest.raises(RuntimeError):
        write_report(tmp_path, evaluation)
    assert (tmp_path / "report.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation", "files", "report.html"]


def test_many_cases_of_three_systems_stay_small(tmp_path):
    """Scans that are nothing but noise: no real one takes more room."""
    evaluation = make_evaluation(tmp_path / "evaluation", [f"case_{n:03d}" for n in range(6)], size=320)
    html = write_report(tmp_path, evaluation, gallery=4)
    assert html.count("<img ") == 4 * 5
    assert html.count('class="case"') == 4
    assert len(html.encode()) < 15e6 * 4 / 40
