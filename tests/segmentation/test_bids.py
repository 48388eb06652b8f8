"""A BIDS dataset, segmented into a derivative dataset."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images.finding import find_scans
from nnunetv2_spinesegdiff.segmentation.bids import LEVELS, OVERLAY, is_derivative, place_of
from nnunetv2_spinesegdiff.segmentation.outputs import made_in
from nnunetv2_spinesegdiff.segmentation.settings import SegmentationSettings

from ..helpers.bids_dataset import describe, errors_of, place
from ..helpers.model_cohort import contents, run
from ..helpers.model_spine import spine, write

pytestmark = pytest.mark.usefixtures("quick_pictures", "stand_in_model")

FIRST, SECOND = "sub-01_T2w", "sub-02_ses-a_acq-sag_run-1_T2w"
IMAGES = (
    *(
        "desc-levels_dseg.json",
        "desc-levels_dseg.nii.gz",
        "desc-levels_dseg.seg.nrrd",
        "desc-levels_dseg.tsv",
    ),
    *("desc-structures_dseg.json", "desc-structures_dseg.nii.gz"),
    *("desc-uncertainty_probseg.json", "desc-uncertainty_probseg.nii.gz"),
)


@pytest.fixture
def dataset(tmp_path):
    """Two subjects, one of them with a session, and a foreign derivative."""
    root = describe(tmp_path / "my data", DatasetDOI="doi:10.0.2.3/dfjj.10")
    write(spine(1), place(root, FIRST))
    write(spine(2), place(root, SECOND))
    write(spine(3), place(root / "derivatives" / "other", FIRST))
    table = "participant_id\tage\tsex\nsub-02\t47\tF\nsub-01\tn/a\tM\n"
    (root / "participants.tsv").write_text(table)
    (root / "participants.json").write_text(json.dumps({"age": {"Description": "age", "Units": "year"}}))
    return root


@pytest.fixture
def out(dataset):
    return dataset / "derivatives" / "spinesegdiff"


def test_results_are_a_derivative_dataset_that_later_runs_go_on_with(dataset, out):
    done = run(dataset, out)
    assert (done.segmented, done.failures, done.notes) == ([FIRST, SECOND], [], [])
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    visible = {name for name in files if not name.startswith(".")}
    first, second = "sub-01/anat/sub-01_space-T2w", "sub-02/ses-a/anat/sub-02_ses-a_acq-sag_run-1_space-T2w"
    assert visible == {
        *(f"{stem}_{name}" for stem in (first, second) for name in IMAGES),
        "sub-01/figures/sub-01_space-T2w_desc-overlay_dseg.png",
        "sub-02/figures/sub-02_ses-a_acq-sag_run-1_space-T2w_desc-overlay_dseg.png",
        *("desc-structures_dseg.tsv", "desc-structures_dseg.json", "dataset_description.json", "README.md"),
        *("index.html", "run.json", "measurements.csv", "level_names.json", "level_colors.ctbl"),
    }

    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "spinesegdiff"
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert description["SourceDatasets"] == [{"DOI": "doi:10.0.2.3/dfjj.10"}]
    sidecar = json.loads((out / f"{second}_desc-structures_dseg.json").read_text())
    assert sidecar["Sources"] == [f"bids:raw:sub-02/ses-a/anat/{SECOND}.nii.gz"]
    assert sidecar["SpatialReference"] == sidecar["Sources"][0]
    levels = pd.read_csv(out / f"{first}_desc-levels_dseg.tsv", sep="\t").set_index("index")
    image = sitk.ReadImage(str(out / f"{first}_desc-levels_dseg.nii.gz"))
    assert set(sitk.GetArrayFromImage(image).flat) <= set(levels.index)
    assert levels.name[201] == "L5-S1"
    assert levels.color.str.fullmatch("#[0-9a-f]{6}").all()
    structures = pd.read_csv(out / "desc-structures_dseg.tsv", sep="\t")
    assert list(structures.name) == ["background", "spinal canal", "vertebrae", "ivd"]

    told = json.loads((out / "run.json").read_text())["scans"][SECOND]["files"]
    assert told[0] == f"{second}_desc-structures_dseg.nii.gz"
    assert all((out / name).is_file() for name in told)
    assert f'<a href="{place_of(FIRST, OVERLAY)}.png">' in (out / "index.html").read_text()
    rows = pd.read_csv(out / "measurements.csv").groupby("scan").first()
    assert list(rows.columns[-3:]) == ["participant_id", "participant_age", "participant_sex"]
    assert list(rows.participant_id) == ["sub-01", "sub-02"]
    assert list(rows.participant_sex) == ["M", "F"]
    assert pd.isna(rows.participant_age[FIRST])
    assert rows.participant_age[SECOND] == 47

    # A rerun keeps what is whole, and makes the rest again.
    before = contents(out)
    assert run(dataset, out).kept == [FIRST, SECOND]
    (out / f"{place_of(SECOND, LEVELS)}.tsv").unlink()
    (dataset / "participants.tsv").write_text("not a table\n")
    (out / "README.md").write_text("of the user")
    again = run(dataset, out)
    assert (again.kept, again.segmented) == ([FIRST], [SECOND])
    assert "participants.tsv" in again.notes[0]
    changed = {"README.md", "measurements.csv"}
    assert {name for name, content in contents(out).items() if before[name] != content} == changed
    assert (out / "README.md").read_text() == "of the user"

    # No result is taken for a scan, wherever it is looked for.
    for place_ in (out, out / "sub-02", out / "sub-01" / "anat", out / f"{first}_desc-levels_dseg.nii.gz"):
        with pytest.raises(UserError):
            find_scans(place_, made_in)
    # One folder has one layout.
    with pytest.raises(UserError) as caught:
        run(place(dataset, FIRST), out)
    assert caught.value.subject == out


def test_datasets_are_valid(dataset, out):
    write(spine(4), place(dataset, "sub-01_T1w"))
    done = run(dataset, out)
    assert done.segmented == ["sub-01_T1w", FIRST, SECOND]
    assert errors_of(dataset) == []
    assert errors_of(out) == []
    (out / "sub-01" / "anat" / "sub-01_T2w_wrong.nii.gz").touch()
    assert any("sub-01_T2w_wrong" in error for error in errors_of(out)), "the validator looks"


def test_axial_images_are_skipped_and_damaged_ones_fail(dataset, out):
    place(dataset, SECOND).write_bytes(b"damaged")
    axial = sitk.Image(64, 64, 9, sitk.sitkInt16)
    axial.SetSpacing((3.0, 3.0, 8.0))
    write(axial, place(dataset, "sub-01_acq-ax_T2w"))
    done = run(dataset, out)
    assert done.segmented == [FIRST]
    assert [failure.source.name for failure in done.failures] == [SECOND]
    assert any("sub-01_acq-ax_T2w" in note and "--any_plane" in note for note in done.notes)
    assert "failure" in json.loads((out / "run.json").read_text())["scans"][SECOND]
    settings = SegmentationSettings(any_plane=True)
    failed = run(dataset, out, settings=settings).failures
    assert "sub-01_acq-ax_T2w" in [failure.source.name for failure in failed], "an empty image"


@pytest.mark.parametrize("inside", ["", "results", "derivatives", "sub-01/anat"])
def test_results_in_the_dataset_are_in_a_folder_of_derivatives(inside, dataset):
    with pytest.raises(UserError) as caught:
        run(dataset, dataset / inside)
    assert "derivatives" in caught.value.advice


def test_folders_of_others_and_of_another_layout_are_not_used(dataset, tmp_path):
    with pytest.raises(UserError) as caught:
        run(dataset, describe(tmp_path / "foreign"))
    assert caught.value.subject == tmp_path / "foreign" / "dataset_description.json"
    run(place(dataset, FIRST), tmp_path / "flat")
    assert (tmp_path / "flat" / f"{FIRST}_seg.nii.gz").is_file()
    with pytest.raises(UserError) as caught:
        run(dataset, tmp_path / "flat")
    assert caught.value.subject == tmp_path / "flat"
    assert not is_derivative(tmp_path / "flat")


def test_entities_are_in_the_order_of_bids():
    name = place_of("sub-1_ses-2_run-3_chunk-4_T1w", LEVELS)
    assert str(name) == "sub-1/ses-2/anat/sub-1_ses-2_run-3_space-T1w_chunk-4_desc-levels_dseg"
