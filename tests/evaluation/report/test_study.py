"""The commands that read an evaluation, and the one that does everything, typed as a user types them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.evaluation.report import scoring

from ...helpers.masks import label_map, raw_dataset, worsened, write_volume
from ...helpers.synthetic_scores import synthetic_gradings

PATIENTS = 24


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Patients with two scans each, the phantom's gradings, and masks of two systems.

    Discs of patients with spondylolisthesis lose a fifth more of their pixels; bulging changes nothing.
    """
    folder = tmp_path_factory.mktemp("cohort")
    rng = np.random.default_rng(7)
    gradings = synthetic_gradings(rng, PATIENTS)
    gradings.to_csv(folder / "gradings.csv", index=False)
    slipped = gradings.groupby("Patient")["Spondylolisthesis"].max() > 0
    cases = {f"SPIDER_{p:03d}_{c}": p for p in gradings["Patient"].unique() for c in ("t1", "t2")}
    dataset = raw_dataset(folder / "Dataset501_SPIDER", list(cases))
    for name, share in (("A", 0.25), ("B", 0.1)):
        for i, (case, patient) in enumerate(cases.items()):
            truth = label_map(i)
            mask = worsened(truth, 1000 + i, share + rng.uniform(0, 0.1))
            if slipped[patient]:
                mask = np.where(truth == 3, worsened(mask, 2000 + i, 0.2), mask)
            write_volume(mask, folder / name / f"{case}.nii.gz")
        (folder / name / "dataset.json").write_text((dataset / "dataset.json").read_text())
    rows = [(f"{patient}_{c}", "F", "training") for patient in slipped.index for c in ("t1", "t2")]
    pd.DataFrame(rows, columns=["new_file_name", "sex", "subset"]).to_csv(
        folder / "overview.csv", index=False
    )
    return folder


@pytest.fixture(scope="module", autouse=True)
def scored_once() -> Iterator[None]:
    """No case is scored twice for the tests here: measuring distances takes longer than everything else."""
    known: dict[Path, scoring.Scored] = {}
    score = scoring.score

    def remembered(work: scoring.Work) -> scoring.Scored:
        if work.case.prediction not in known:
            known[work.case.prediction] = score(work)
        return copy.deepcopy(known[work.case.prediction])

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scoring, "score", remembered)
        patched.setattr(scoring, "SECONDS_A_PROCESS", np.inf)
        yield


def copy_few(cohort: Path, folder: Path) -> None:
    """The files of two patients."""
    for name in ("A", "B", "Dataset501_SPIDER"):
        for part in [*(cohort / name).rglob("SPIDER_00[12]*.nii.gz"), cohort / name / "dataset.json"]:
            target = folder / part.relative_to(cohort)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(part.read_bytes())


def sources(cohort: Path) -> list[str]:
    systems = [f"{name}={cohort / name}" for name in "AB"]
    return ["-s", *systems, "-l", str(cohort / "Dataset501_SPIDER" / "labelsTr")]


@pytest.fixture(scope="module")
def evaluation(cohort) -> Path:
    assert main(["evaluate", *sources(cohort), "-o", str(cohort / "evaluation")]) == 0
    return cohort / "evaluation"


@pytest.mark.parametrize(
    "more",
    [["--fewest", "2", "--systems", "B"], pytest.param(["--mixed"], marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_the_finding_that_lowers_dice_is_found_and_the_other_is_not(
    cohort, evaluation, tmp_path, capsys, more
):
    words = ["pathology", "-i", str(evaluation), "--gradings", str(cohort / "gradings.csv")]
    assert main([*words, *more]) == 0
    folder = evaluation / "pathology"
    table = pd.read_csv(folder / "pathology.csv")
    table = table[table["system"] == "B"].set_index(["finding", "structure"])
    assert table.loc[("Spondylolisthesis", "ivd"), "significant"]
    assert table.loc[("Spondylolisthesis", "ivd"), "hedges_g"] < -1
    assert not table.loc[("Spondylolisthesis", "vertebrae"), "significant"]
    assert not table.loc["Disc bulging", "significant"].any()
    assert (folder / "pathology.md").read_text() in capsys.readouterr().out
    # A report shows the statistics that are there.
    page = tmp_path / "later.html"
    assert main(["report", "-i", str(evaluation), "-o", str(page), "--gallery", "0"]) == 0
    assert "Spondylolisthesis" in page.read_text()


def test_everything_in_one_command(cohort, capsys):
    page = cohort / "all" / "report.html"
    tables = ["--gradings", str(cohort / "gradings.csv"), "--overview", str(cohort / "overview.csv")]
    assert (
        main(["report", *sources(cohort), *tables, "-o", str(page), "--gallery", "3", "--title", "Us"]) == 0
    )
    assert str(page) in capsys.readouterr().out
    html = page.read_text()
    assert "<h1>Us</h1>" in html
    assert f"{PATIENTS} patients" in html
    for title in ("Scores", "Is it better?", "Distances", "Figures", "Pathology", "Patients and scans"):
        assert re.search(rf"<h2[^>]*>{re.escape(title)}", html), title
    assert "Spondylolisthesis" in html
    assert str(cohort) not in html
    folder = page.with_name("report_files")
    index = json.loads((folder / "figures" / "figures.json").read_text())
    assert {"findings_1.png", "findings_2.png", "systems.png", "pairs.png", "cases.png"} == {
        entry["file"] for entry in index["figures"]
    }
    assert html.count("data:image/png") == len(index["figures"])
    assert (folder / "cohort" / "cohort.md").is_file()


def test_the_page_holds_no_folder(cohort, monkeypatch):
    """Relative ones, ones with blanks and those of tables neither."""
    monkeypatch.chdir(cohort)
    secret = cohort / "ward 7" / "Mayer Hans"
    secret.mkdir(parents=True)
    for name in ("gradings.csv", "overview.csv"):
        (secret / name).write_bytes((cohort / name).read_bytes())
    folds = [{"train": ["SPIDER_001_t1"], "val": ["SPIDER_002_t1"]}]
    for part in ("a", "b"):
        (secret / part).mkdir()
        (secret / part / "splits_final.json").write_text(json.dumps(folds))
    splits = [f"ward 7/Mayer Hans/{part}/splits_final.json" for part in ("a", "b")]
    tables = ["--gradings", "ward 7/Mayer Hans/gradings.csv", "--overview", str(secret / "overview.csv")]
    copy_few(cohort, cohort / "few")
    words = ["report", "-s", "B=few/B", "-l", "few/Dataset501_SPIDER/labelsTr", *tables, "--splits", *splits]
    assert main([*words, "-o", "page.html", "--gallery", "0"]) == 0
    html = (cohort / "page.html").read_text()
    for part in ("ward", "Mayer", str(cohort), "Dataset501_SPIDER/"):
        assert part not in html, part
    for part in ("splits_final.json (2)", "--gradings gradings.csv", "-s B=B -l labelsTr"):
        assert part in html


@pytest.mark.slow
def test_figures_alone(cohort, evaluation, capsys):
    out = cohort / "figures"
    words = ["figures", "-i", str(evaluation), "-o", str(out), "--cases", "SPIDER_002_t1", "--pair", "B", "A"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"{out / 'cases.png'}: " in shown
    assert (out / "pairs.pdf").read_bytes().startswith(b"%PDF")


def test_the_cohort_alone(cohort, capsys):
    tables = ["--gradings", str(cohort / "gradings.csv"), "--overview", str(cohort / "overview.csv")]
    assert main(["cohort", *tables, "-o", str(cohort / "counted")]) == 0
    assert "| T1w + T2w | " in capsys.readouterr().out.replace("T1w+T2w", "T1w + T2w")


@pytest.mark.parametrize("command", ["pathology", "cohort", "report"])
def test_a_table_without_patient_is_named(cohort, evaluation, tmp_path, capsys, command):
    bad = tmp_path / "gradings.csv"
    table = pd.read_csv(cohort / "gradings.csv").rename(columns={"Patient": "Subject"})
    table.to_csv(bad, index=False)
    more = {
        "pathology": ["-i", str(evaluation), "-o", str(tmp_path / "out")],
        "cohort": ["--overview", str(cohort / "overview.csv"), "-o", str(tmp_path / "out")],
        "report": ["-i", str(evaluation), "-o", str(tmp_path / "report.html")],
    }[command]
    assert main([command, "--gradings", str(bad), *more]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {bad}: ")
    assert "Patient" in error
    assert list(tmp_path.iterdir()) == [bad]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "report.pdf"], "report.pdf: "),
        (["-o", "r.html", "--gradings", "none.csv"], "none.csv: "),
        (["-o", "r.html", "--order_by", "Z"], "Z"),
        (["-o", "r.html", "--gallery", "-1"], "-1 pictures"),
        (["-o", "r.html", "--control", "A=x"], "--control: "),
        (["-o", "r.html", "--metric", "hd95_mm"], "--metric: "),
        (["-o", "r.html", "--images", "x"], "spinesegdiff evaluate"),
        (["-o", "r.html", "--overview", "overview.csv"], "--gradings and --overview"),
        (["-o", "r.html", "-i", "."], "spinesegdiff evaluate"),
    ],
)
def test_invalid_options_are_one_line(evaluation, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["report", "-i", str(evaluation), *words]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert message in error
    assert not list(tmp_path.glob("*.html"))


def test_a_moved_evaluation_keeps_its_pictures(cohort, tmp_path):
    """Paths in it are relative: folder and masks may move together."""
    new = tmp_path / "moved"
    words = [word.replace(str(cohort), str(new)) for word in sources(cohort)]
    copy_few(cohort, new)
    assert main(["evaluate", *words, "-o", str(new / "evaluation")]) == 0
    again = new.rename(tmp_path / "again")
    page = tmp_path / "r.html"
    assert main(["report", "-i", str(again / "evaluation"), "-o", str(page)]) == 0
    assert page.read_text().count("data:image/jpeg") >= 4 * 3
    assert sitk.ReadImage(str(again / "A" / "SPIDER_001_t1.nii.gz")).GetSize() == (20, 24, 1)
