"""Which scans lie at a path, and what they are called."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.images import finding
from nnunetv2_spinesegdiff.images.finding import contents_of, find_scans, look_for_scans, unique_names
from nnunetv2_spinesegdiff.images.scan import ScanSource

from ..helpers.scan_files import AXIAL, scan, write, write_enhanced, write_report, write_series, zipped


def touch(folder: Path, *names: str) -> None:
    for path in (folder / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(path: Path, *made_in) -> list[str]:
    return [source.name for source in find_scans(path, *made_in)]


def found(path: Path) -> list[tuple[str, str, str]]:
    """(name, kind, path below `path`) of every scan."""
    return [(s.name, s.kind, str(s.path.relative_to(path))) for s in find_scans(path)]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".MHD", ".nrrd", ".nhdr", ".Nii.GZ"])
def test_a_scan_file_is_called_by_its_name_without_ending(ending, tmp_path):
    touch(tmp_path, f"sub-01.v2{ending}")
    (source,) = find_scans(tmp_path / f"sub-01.v2{ending}")
    assert (source.name, source.kind) == ("sub-01.v2", "file")
    assert found(tmp_path) == [("sub-01.v2", "file", f"sub-01.v2{ending}")]


def test_a_folder_of_everything(tmp_path):
    touch(tmp_path, "sub-01/anat/T2w.nii.gz", "b.mhd", "b.raw", "notes.txt", "e.zraw", "zips/x")
    touch(tmp_path, ".hidden.nii.gz", ".git/c.nii", "letters/letter.txt")
    write_series(tmp_path / "exam" / "DICOM" / "S1", scan())
    zipped(write_series(tmp_path / "packed", scan()), tmp_path / "zips" / "patient.zip")
    zipped(tmp_path / "letters", tmp_path / "documents.zip")
    assert found(tmp_path) == [
        ("b", "file", "b.mhd"),
        ("exam", "dicom", "exam"),
        ("packed", "dicom", "packed"),
        ("sub-01_anat_T2w", "file", "sub-01/anat/T2w.nii.gz"),
        ("zips_patient", "dicom_zip", "zips/patient.zip"),
    ]


def test_a_folder_of_dicom_at_any_depth_is_one_exam(tmp_path):
    exam = tmp_path / "Patient 1.2"
    for number in (1, 2):
        write_series(exam / "DICOM" / f"S{number}", scan(), study="1.2.3", SeriesNumber=number)
    touch(exam, "DICOMDIR", "viewer.exe", "README")
    (source,) = find_scans(exam)
    assert (source.name, source.kind, source.path) == ("Patient 1.2", "dicom", exam)


def test_a_relative_path_has_the_folders_name(tmp_path, monkeypatch):
    write_series(tmp_path / "exam", scan())
    monkeypatch.chdir(tmp_path / "exam")
    assert names(Path(".")) == ["exam"]


def test_different_studies_in_different_folders_are_different_exams(tmp_path):
    for patient in ("anna", "berta"):
        for number in (1, 2):
            write_series(tmp_path / patient / f"S{number}", scan(), study=f"1.2.{len(patient)}")
    assert found(tmp_path) == [("anna", "dicom", "anna"), ("berta", "dicom", "berta")]


def test_one_dicom_image_and_one_zip_can_be_given(tmp_path):
    enhanced = write_enhanced(tmp_path / "enhanced", scan())
    exam = zipped(write_series(tmp_path / "exam", scan()), tmp_path / "Exam.Zip")
    assert [s.kind for s in find_scans(enhanced)] == ["dicom"]
    assert [(s.name, s.kind) for s in find_scans(exam)] == [("Exam", "dicom_zip")]


def test_dicom_without_a_preamble_is_known(tmp_path, read):
    for file in write_series(tmp_path / "exam", scan()).iterdir():
        file.write_bytes(file.read_bytes()[132:])
    assert found(tmp_path) == [(tmp_path.name, "dicom", ".")]
    assert len(read(tmp_path).dicom_files) == 7


def test_a_damaged_zip_is_listed(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and then nothing")
    assert found(tmp_path) == [("a", "dicom_zip", "a.zip")]


@pytest.mark.parametrize("content", ["nothing", "report", "text", "hidden", "zip"])
def test_a_folder_without_a_scan_is_refused(content, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    if content == "report":
        write_report(folder / "SR1")
    elif content == "text":
        (folder / "a.txt").write_text("a" * 500)
        (folder / "b").write_bytes(b"\x08\x00" * 300)
    elif content == "hidden":
        write(scan(), folder / ".a.nii.gz")
    elif content == "zip":
        (tmp_path / "packed").mkdir()
        write_report(tmp_path / "packed" / "SR1")
        zipped(tmp_path / "packed", folder / "a.zip")
    with pytest.raises(UserError, match=r"folder: holds no scan; .*\.nii\.gz, .*DICOM exams") as error:
        find_scans(folder)
    assert "\n" not in str(error.value)


def test_what_is_missing_or_no_scan_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"gone: no such file or folder"):
        find_scans(tmp_path / "gone")
    (tmp_path / "a.txt").write_text("a" * 500)
    with pytest.raises(UserError, match=r"a\.txt: is not a scan; supported are"):
        find_scans(tmp_path / "a.txt")


def test_what_may_be_a_scan_in_another_format_is_told(tmp_path):
    others = ["a/old.HDR", "a/old.img", "b.nii.bz2", "mri/T1.mgz"]
    touch(tmp_path, "data/scan.nii.gz", *others)
    zipped(tmp_path / "data", tmp_path / "niftis.zip")
    assert look_for_scans(tmp_path).passed_over == [*others, "niftis.zip"]
    assert look_for_scans(tmp_path / "data" / "scan.nii.gz").passed_over == []


def test_what_is_no_image_or_is_part_of_one_is_passed_over_in_silence(tmp_path):
    touch(tmp_path, "b.mhd", "b.raw", "c.nhdr", "c.raw.gz", "notes.txt", "a.csv", "a.json", "a.png", ".x.mgz")
    touch(tmp_path, ".cache/y.img", "README", "exam/viewer.img", "exam/S1/plan.hdr")
    (tmp_path / "damaged.zip").write_bytes(b"PK\x03\x04 and then nothing")
    write_series(tmp_path / "exam" / "S1", scan())
    assert len(find_scans(tmp_path)) == 4
    assert look_for_scans(tmp_path).passed_over == look_for_scans(tmp_path / "exam").passed_over == []


def results(folder: Path) -> set[str]:
    """Of a run whose output folders are called `out`."""
    return {"a_seg.nii.gz", "a_uncertainty.mha"} if folder.name == "out" else set()


def test_results_are_passed_over_where_a_run_made_them(tmp_path):
    touch(tmp_path, "out/a_seg.nii.gz", "out/a_uncertainty.mha", "out/a.nii", "a_seg.nii.gz")
    assert names(tmp_path, results) == ["a_seg", "out_a"]
    assert names(tmp_path / "out", results) == ["a"]


def test_results_alone_are_refused_by_name(tmp_path):
    touch(tmp_path, "out/a_seg.nii.gz")
    for path in (tmp_path, tmp_path / "out"):
        with pytest.raises(UserError, match="holds no scan, only results of an earlier run; give the scan"):
            find_scans(path, results)
    with pytest.raises(UserError, match=r"a_seg\.nii\.gz: is a result of an earlier run; give"):
        find_scans(tmp_path / "out" / "a_seg.nii.gz", results)


def test_scan_files_and_dicom_side_by_side_are_refused(tmp_path):
    write_series(tmp_path / "exam", scan())
    touch(tmp_path, "exam/converted.nii.gz", "other.nii")
    both = r"exam: holds scan files \(converted\.nii\.gz\) and DICOM images \(IM"
    with pytest.raises(UserError, match=both):
        find_scans(tmp_path)


def test_results_below_an_exam_are_listed_beside_it(tmp_path):
    write_series(tmp_path / "exam", scan())
    write_series(tmp_path / "exam" / "S2", scan(AXIAL))
    touch(tmp_path, "exam/out/a.nii.gz")
    assert found(tmp_path / "exam") == [("exam", "dicom", "."), ("out_a", "file", "out/a.nii.gz")]


@pytest.mark.parametrize("target", [".", "..", "../b"])
def test_loops_of_links_end(target, tmp_path):
    touch(tmp_path, "a/one.nii", "b/two.nii")
    (tmp_path / "a" / "loop").symlink_to(target, target_is_directory=True)
    (tmp_path / "b" / "back").symlink_to("../a", target_is_directory=True)
    assert found(tmp_path) == [("a_one", "file", "a/one.nii"), ("b_two", "file", "b/two.nii")]


def test_dicom_in_a_loop_of_links_is_read_once(tmp_path, read):
    write_series(tmp_path / "exam", scan())
    (tmp_path / "exam" / "loop").symlink_to("..", target_is_directory=True)
    assert len(read(tmp_path / "exam").dicom_files) == 7


def test_links_to_files_and_folders_elsewhere_are_followed(tmp_path):
    touch(tmp_path, "store/x.nii", "store/more/y.mha", "data/notes.txt")
    (tmp_path / "data" / "case.nii").symlink_to(tmp_path / "store" / "x.nii")
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "store" / "more")
    (tmp_path / "data" / "lost.nii.gz").symlink_to(tmp_path / "gone")
    assert names(tmp_path / "data") == ["case", "linked_y", "lost"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("a.mha", "a.nii.gz", "b.nii", "B.mha", "c.nii"), ["B_mha", "a_mha", "a_nii_gz", "b_nii", "c"]),
        (("a_mha.nii", "a.mha", "a.nii"), ["a_mha", "a_mha_nii", "a_nii"]),
    ],
)
def test_equal_names_keep_their_endings(files, expected, tmp_path):
    touch(tmp_path, *files)
    assert names(tmp_path) == expected


def test_an_exam_and_its_zip_are_two_scans(tmp_path):
    zipped(write_series(tmp_path / "exam", scan()), tmp_path / "exam.zip")
    assert found(tmp_path) == [("exam", "dicom", "exam"), ("exam_zip", "dicom_zip", "exam.zip")]


def test_names_that_stay_equal_are_refused(tmp_path):
    touch(tmp_path, "a_b.nii", "a/b.nii")
    with pytest.raises(UserError, match=r"a_b\.nii and a/b\.nii: .* same name; rename one"):
        find_scans(tmp_path)


def test_accents_encoded_in_two_ways_are_one_name():
    paths = [PurePosixPath("caf\u00e9.nii"), PurePosixPath("cafe\u0301.mha")]
    assert unique_names(paths) == ["caf\u00e9_nii", "cafe\u0301_mha"]


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u6f22"])
def test_long_names_are_shortened_and_stay_different(letter):
    paths = [PurePosixPath("/".join([letter * 60] * 5)[:n] + ".nii") for n in (200, 250)]
    first, second = unique_names(paths)
    assert first != second
    assert max(len(name.encode()) for name in (first, second)) <= finding.MOST_BYTES
    assert first.startswith(letter * 40)
    assert unique_names(paths[:1]) == [first], "whatever lies beside it"


@pytest.mark.parametrize(
    ("path", "name"),
    [(".hidden.nii.gz", "hidden"), ("...mha", "scan"), (os.fsdecode(b"lat\xe9in.mha"), "lat\ufffdin")],
)
def test_results_are_neither_hidden_nor_without_a_name(path, name):
    assert unique_names([PurePosixPath(path)]) == [name]


@given(
    st.sets(
        st.tuples(
            st.lists(st.sampled_from(["a", "b", "a-b", "x.nii"]), max_size=2),
            st.sampled_from(["a", "b"]),
            st.sampled_from([".nii", ".NII.gz", ".mha"]),
        ).map(lambda parts: "/".join([*parts[0], parts[1] + parts[2]])),
        min_size=1,
        max_size=8,
    )
)
def test_all_names_differ_and_each_file_has_one(paths):
    given_names = unique_names([PurePosixPath(path) for path in sorted(paths)])
    assert len({name.casefold() for name in given_names}) == len(paths)
    for name, path in zip(given_names, sorted(paths), strict=True):
        assert path.replace("/", "_").replace(".", "_").startswith(name.replace(".", "_"))


def test_listing_reads_no_more_than_the_beginnings(tmp_path, monkeypatch):
    """One header of an exam is enough, and of files with a scan's ending nothing is read."""
    for k in range(3):
        write_series(tmp_path / "cohort" / f"p{k}", scan(), study=f"1.2.{k}")
        touch(tmp_path, f"cohort/files/{k}.nii.gz")
    asked = []
    study_of = finding.study_of

    def asked_of(path: Path) -> str | None:
        asked.append(path)
        return study_of(path)

    monkeypatch.setattr(finding, "study_of", asked_of)
    assert len(find_scans(tmp_path / "cohort")) == 6
    assert len(asked) == 3


def source(path: Path, kind: Any = "file") -> ScanSource:
    return ScanSource(path.stem, path, kind)


@pytest.mark.parametrize(("ending", "field"), [(".mhd", "ElementDataFile = "), (".nhdr", "data file: ")])
def test_voxels_beside_a_header_count_whatever_they_are_called(ending, field, tmp_path):
    path = write(scan(), tmp_path / f"scan{ending}")
    (raw,) = (file for file in tmp_path.iterdir() if file != path)
    voxels = raw.rename(tmp_path / "voxels.bin")
    path.write_text(path.read_text().replace(field + raw.name, field + voxels.name))
    (tmp_path / "scan.txt").write_text("notes")
    before = contents_of(source(path))
    assert before == [
        [file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in sorted((path, voxels))
    ]
    voxels.write_bytes(bytes([1]) * voxels.stat().st_size)
    assert contents_of(source(path)) != before


def test_voxels_in_several_files_count(tmp_path):
    path = tmp_path / "scan.mhd"
    path.write_text("NDims = 3\nElementDataFile = LIST\na.raw\n")
    (tmp_path / "a.raw").write_bytes(b"1")
    assert [name for name, _ in contents_of(source(path))] == ["a.raw", "scan.mhd"]


def test_an_exam_is_all_that_is_not_hidden_behind_links_too(tmp_path):
    for name in ("exam/1", "exam/.hidden", "elsewhere/2"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "exam" / "more").symlink_to(tmp_path / "elsewhere")
    found = contents_of(source(tmp_path / "exam", "dicom"))
    assert [name for name, _ in found] == ["1", "more/2"]


def test_what_cannot_be_read_is_no_error(tmp_path):
    (tmp_path / "empty.mhd").write_text("")
    assert contents_of(source(tmp_path / "gone.nii"))[0][1] == "No such file or directory"
    assert [name for name, _ in contents_of(source(tmp_path / "empty.mhd"))] == ["empty.mhd"]
