"""Which series of an exam is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from ..helpers.scan_files import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    dicom_slice,
    item,
    scan,
    values,
    write,
    write_enhanced,
    write_report,
    write_series,
    zipped,
)

STUDY = "1.2.3"


@pytest.fixture
def exam(tmp_path) -> Path:
    """Two sagittal series, an axial one and a localizer of three planes."""
    folder = tmp_path / "exam"
    write_series(folder / "a", scan(), "1.5.1", STUDY, SeriesNumber=3, SeriesDescription="T2 Sag")
    write_series(folder / "a", scan(seed=1), "1.5.2", STUDY, SeriesNumber=4, SeriesDescription="T1 sag")
    write_series(folder / "b", scan(AXIAL), "1.5.3", STUDY, SeriesNumber=5, SeriesDescription="T2 ax")
    localizer: dict[str, Any] = {"SeriesNumber": 1, "SeriesDescription": "localizer"}
    for k, cosines in enumerate((SAGITTAL, AXIAL, CORONAL)):
        write_series(folder / str(k), scan(cosines, (70, 64, 3), (4, 4, 10)), "1.5.4", STUDY, **localizer)
    return folder


def test_several_sagittal_series_are_listed_in_one_line(exam, refused):
    assert refused(exam) == (
        '2 series are sagittal volumes; choose with --series one of: 3 "T2 Sag" (7 slices); '
        '4 "T1 sag" (7 slices)'
    )
    assert 'one of: 3 "T2 Sag" (7 slices)' in refused(exam, any_plane=True)
    assert '5 "T2 ax"' in refused(exam, any_plane=True)


@pytest.mark.parametrize("wanted", ["4", "04", "1.5.2", "T1 sag", "t1 SAG", " 4 "])
def test_a_series_is_chosen_by_number_uid_or_description(wanted, exam, read):
    assert np.array_equal(values(read(exam, series=wanted).image), values(scan(seed=1)))


@pytest.mark.parametrize("wanted", ["9", "T1", "1.5", ""])
def test_a_series_that_is_not_there_is_refused_with_all_that_are(wanted, exam, refused):
    said = refused(exam, series=wanted)
    assert said.startswith(f"no series is called {wanted!r}; choose with --series one of: 1 ")
    assert said.count("slices)") == 4


def test_a_name_of_several_series_is_refused_with_their_uids(tmp_path, refused, read):
    for number in (1, 2):
        write_series(tmp_path / "exam", scan(seed=number), f"1.7.{number}", STUDY)
    said = refused(tmp_path / "exam", series="t2 sag")
    assert said == (
        "2 series are called 't2 sag'; choose with --series one of: "
        '1.7.1 "T2 sag" (7 slices); 1.7.2 "T2 sag" (7 slices)'
    )
    assert np.array_equal(values(read(tmp_path / "exam", series="1.7.2").image), values(scan(seed=2)))


def test_a_chosen_axial_series_is_refused_or_reformatted(exam, read, refused):
    assert "its slices are axial" in refused(exam, series="5")
    made = read(exam, series="5", any_plane=True)
    assert made.warnings == ("reformatted from thick axial slices: models are trained on sagittal ones",)


def test_a_chosen_localizer_is_refused(exam, refused):
    assert "its slices differ in orientation" in refused(exam, series="localizer")


def test_an_exam_without_a_sagittal_series_lists_what_there_is(tmp_path, refused):
    write_series(tmp_path / "exam", scan(AXIAL), SeriesDescription="ax")
    write_series(tmp_path / "exam", scan(size=(70, 64, 1)), SeriesNumber=8, SeriesDescription="one")
    assert refused(tmp_path / "exam") == (
        "no series is a sagittal volume of at least two slices; choose with --series one of: "
        '3 "ax" (7 slices); 8 "one" (1 slice)'
    )


def test_a_single_slice_is_read_when_it_is_chosen(tmp_path, read):
    (warning,) = read(write_series(tmp_path / "exam", scan(size=(70, 64, 1))), series="3").warnings
    assert "a single sagittal slice" in warning


def in_colour(dataset, _) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = bytes(3 * dataset.Rows * dataset.Columns)


def test_the_only_sagittal_series_is_taken_among_others(tmp_path, read):
    write_series(tmp_path / "exam" / "sag", scan(), study=STUDY)
    write_series(tmp_path / "exam" / "ax", scan(AXIAL), study=STUDY, SeriesNumber=4)
    write_series(tmp_path / "exam" / "c", scan(), study=STUDY, SeriesNumber=5, change=in_colour)
    write_report(tmp_path / "exam" / "SR1")
    made = read(tmp_path / "exam")
    assert np.array_equal(values(made.image), values(scan()))
    assert made.warnings == ()


def test_a_chosen_color_series_is_refused(tmp_path, refused):
    exam = write_series(tmp_path / "exam", scan(), change=in_colour)
    assert "3 values per voxel" in refused(exam, series="3")


def test_other_modalities_are_read_with_a_warning_where_there_is_no_mr(tmp_path, read):
    (warning,) = read(write_series(tmp_path / "exam", scan(), Modality="CT")).warnings
    assert warning == "the modality is CT, not MR: models are trained on MR"
    write_series(tmp_path / "exam", scan(seed=1), SeriesNumber=9)
    made = read(tmp_path / "exam")
    assert made.warnings == ()
    assert np.array_equal(values(made.image), values(scan(seed=1)))


def test_a_damaged_mr_image_is_named(tmp_path, refused):
    file = sorted(write_series(tmp_path / "exam", scan()).iterdir())[6]
    file.write_bytes(file.read_bytes()[:-100])
    damaged = "is truncated or damaged: copy or download it again"
    assert refused(tmp_path / "exam") == f"its image {file.name} {damaged}"


def test_other_files_without_an_image_are_counted(tmp_path, read):
    write_series(tmp_path / "exam", scan())
    secondary = dicom_slice(scan(), 0, "1.2", STUDY, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    del secondary.PixelData
    del secondary.Rows
    secondary.save_as(tmp_path / "exam" / "broken", enforce_file_format=True)
    write_report(tmp_path / "exam" / "SR1")
    (tmp_path / "exam" / "readme.txt").write_text("no DICOM")
    assert read(tmp_path / "exam").warnings == (
        "1 DICOM files hold no readable image and were skipped: broken",
    )


@pytest.mark.parametrize(
    ("charset", "description"), [("ISO_IR 100", "T2 Wirbelsäule"), ("ISO_IR 192", "腰椎"), (None, "a  b ")]
)
def test_descriptions_in_other_letters_are_understood(charset, description, tmp_path, read):
    for number in (1, 2):
        own = description if number == 1 else "other"
        tags = {} if charset is None else {"SpecificCharacterSet": charset}
        write_series(tmp_path / "exam", scan(seed=number), SeriesNumber=number, SeriesDescription=own, **tags)
    made = read(tmp_path / "exam", series=description.upper())
    assert np.array_equal(values(made.image), values(scan(seed=1)))


def test_a_series_means_nothing_for_a_file(tmp_path, read):
    assert np.array_equal(values(read(write(scan(), tmp_path / "a.mha"), series="T2").image), values(scan()))


DIXON = {
    "water": ["DERIVED", "PRIMARY", "DIXON", "WATER"],
    "fat": ["DERIVED", "PRIMARY", "DIXON", "FAT"],
    "in-phase": ["ORIGINAL", "PRIMARY", "M", "IP"],
}


@pytest.fixture
def dixon(tmp_path) -> Path:
    """Three images of the same slices in one series."""
    for seed, kind in enumerate(DIXON.values()):
        write_series(tmp_path / "exam" / str(seed), scan(seed=seed), "1.5.1", STUDY, ImageType=kind)
    return tmp_path / "exam"


def test_the_images_of_a_dixon_series_are_listed(dixon, refused):
    expected = (
        'choose with --series one of: 3:fat "T2 sag", DIXON FAT TE 100 ms (7 slices); '
        '3:water "T2 sag", DIXON WATER TE 100 ms (7 slices); 3:in-phase "T2 sag", M IP TE 100 ms (7 slices)'
    )
    assert refused(dixon) == f"it holds 3 sagittal volumes; {expected}"
    assert refused(dixon, series="3") == f"3 volumes are called '3'; {expected}"
    assert refused(dixon, series="3:dixon").startswith("2 volumes are called '3:dixon'; ")
    assert refused(dixon, series="3:4") == f"no volumes are called '3:4'; {expected}"


@pytest.mark.parametrize(
    ("wanted", "seed"),
    [("3:water", 0), ("T2 sag:WATER", 0), ("1.5.1:fat", 1), ("3: ip ", 2), ("3:in-phase", 2), ("3:1", 1)],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_image_of_a_dixon_series_is_chosen_by_its_kind(wanted, seed, packed, dixon, tmp_path, read):
    path = zipped(dixon, tmp_path / "exam.zip") if packed else dixon
    assert np.array_equal(values(read(path, series=wanted).image), values(scan(seed=seed)))


def test_what_the_list_of_volumes_says_can_be_typed(dixon, refused, read):
    listed = refused(dixon).partition("one of: ")[2].split("; ")
    read_so = [values(read(dixon, series=one.split(' "')[0]).image).sum() for one in listed]
    assert sorted(read_so) == sorted(values(scan(seed=seed)).sum() for seed in range(3))


@pytest.mark.parametrize("wanted", ["3:TE10", "3:10", "3:te10"])
def test_an_echo_is_chosen_by_its_time(wanted, tmp_path, read, refused):
    for seed, echo in enumerate((10, 80.5)):
        write_series(tmp_path / "exam" / str(seed), scan(seed=seed), "1.5.1", STUDY, EchoTime=echo)
    said = refused(tmp_path / "exam")
    assert '3:TE10 "T2 sag", TE 10 ms (7 slices); 3:TE80.5 "T2 sag", TE 80.5 ms (7 slices)' in said
    assert np.array_equal(values(read(tmp_path / "exam", series=wanted).image), values(scan()))
    assert np.array_equal(values(read(tmp_path / "exam", series="3:80.5").image), values(scan(seed=1)))
    assert np.array_equal(values(read(tmp_path / "exam", series="3:2").image), values(scan(seed=1)))


def test_echoes_of_one_enhanced_image_are_chosen_too(tmp_path, read):
    """Frames alternate between two echoes of the same slices."""

    def echo(frame: Dataset, number: int) -> None:
        frame.MREchoSequence = item(EffectiveEchoTime=80 if number % 2 else 10)

    path = write_enhanced(tmp_path / "a", scan(), [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6], echo)
    dataset = dcmread(path)
    pixels = np.frombuffer(dataset.PixelData, "<i2").reshape(14, 64, 70).copy()
    pixels[1::2] *= 3
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path)
    assert np.array_equal(values(read(path, series="3:TE10").image), values(scan()))
    assert np.array_equal(values(read(path, series="3:TE80").image), values(scan()) * 3)


def test_a_colon_in_a_description_is_no_part(tmp_path, read):
    write_series(tmp_path / "exam", scan(), SeriesDescription="T2: sag")
    write_series(tmp_path / "exam", scan(seed=1), SeriesNumber=4)
    assert np.array_equal(values(read(tmp_path / "exam", series="t2: sag").image), values(scan()))
