"""Which series of an exam is read, and which are no volume."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st

from nnunetv2_spinesegdiff.scans import dicom_zip
from nnunetv2_spinesegdiff.scans.dicom_stack import stack
from nnunetv2_spinesegdiff.scans.refusal import Refusal

from ..dataset_conversion.made_up import rotation
from .made_up import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    dicom_slice,
    scan,
    values,
    write,
    write_enhanced,
    write_report,
    write_series,
    zipped,
)

STUDY = "1.2.3"
OTHER = rotation((1, 2, 0)) @ SAGITTAL


@pytest.fixture
def exam(tmp_path) -> Path:
    """Two sagittal series, an axial one and a localizer of three planes."""
    folder = tmp_path / "exam"
    write_series(folder / "a", scan(), "1.5.1", STUDY, SeriesNumber=3, SeriesDescription="T2 Sag")
    write_series(folder / "a", scan(seed=1), "1.5.2", STUDY, SeriesNumber=4, SeriesDescription="T1 sag")
    write_series(folder / "b", scan(AXIAL), "1.5.3", STUDY, SeriesNumber=5, SeriesDescription="T2 ax")
    for k, cosines in enumerate((SAGITTAL, AXIAL, CORONAL)):
        planes = scan(cosines, (70, 64, 3), (4, 4, 10))
        write_series(
            folder / "loc" / str(k), planes, "1.5.4", STUDY, SeriesNumber=1, SeriesDescription="localizer"
        )
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
    write_series(tmp_path / "exam", scan(size=(70, 64, 1)))
    (warning,) = read(tmp_path / "exam", series="3").warnings
    assert "a single sagittal slice" in warning


def test_the_only_sagittal_series_is_taken_among_others(tmp_path, read):
    write_series(tmp_path / "exam" / "sag", scan(), study=STUDY)
    write_series(tmp_path / "exam" / "ax", scan(AXIAL), study=STUDY, SeriesNumber=4)
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    bits = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0}
    pixels = bytes(70 * 64 * 3)
    write_series(
        tmp_path / "exam" / "c", scan(), study=STUDY, SeriesNumber=5, PixelData=pixels, **colour, **bits
    )
    write_report(tmp_path / "exam" / "SR1")
    made = read(tmp_path / "exam")
    assert np.array_equal(values(made.image), values(scan()))
    assert made.warnings == ()


def test_other_modalities_are_read_with_a_warning_where_there_is_no_mr(tmp_path, read):
    write_series(tmp_path / "exam", scan(), Modality="CT")
    (warning,) = read(tmp_path / "exam").warnings
    assert warning == "the modality is CT, not MR: models are trained on MR"
    write_series(tmp_path / "exam", scan(seed=1), SeriesNumber=9)
    made = read(tmp_path / "exam")
    assert made.warnings == ()
    assert np.array_equal(values(made.image), values(scan(seed=1)))


def set_on(k: int, **tags):
    """A change of one slice."""

    def change(dataset, index):
        if index == k:
            for name, value in tags.items():
                setattr(dataset, name, value)

    return change


def two_echoes(dataset, k: int) -> None:
    dataset.EchoTime = 10 if k % 2 else 80


MIXED = {
    "echo": (two_echoes, "its slices differ in echo: "),
    "spacing": (set_on(2, PixelSpacing=[1.8, 1.9]), "its slices differ in spacing: "),
    "orientation": (
        set_on(2, ImageOrientationPatient=[float(v) for v in (*OTHER[:, 0], *OTHER[:, 1])]),
        "its slices differ in orientation: ",
    ),
    "size": (set_on(2, Rows=32, PixelData=bytes(70 * 32 * 2)), "its slices differ in size: "),
    "duplicates": (set_on(2, ImagePositionPatient=[14 - 3 * 4.4, -60, 55]), "lie at the same place"),
    "gap": (lambda dataset, k: k != 4, r"not evenly spaced, 8.80 mm after slice 4 (IM"),
    "uneven": (
        set_on(6, ImagePositionPatient=[14 - 6.2 * 4.4, -60, 55]),
        "not evenly spaced, 5.28 mm after slice 6 (",
    ),
    "out of line": (set_on(3, ImagePositionPatient=[14 - 3 * 4.4, -58, 55]), "do not lie in one line"),
    "leaning": (
        lambda d, k: setattr(d, "ImagePositionPatient", [14 - 4.4 * k, -60 + 0.3 * k, 55]),
        "its slices lean over by 3.9 degrees (tilted stack)",
    ),
    "nowhere": (
        lambda dataset, k: delattr(dataset, "ImagePositionPatient") if k == 3 else None,
        "its slices do not say where in the patient they lie",
    ),
}


@pytest.mark.parametrize("what", MIXED)
@pytest.mark.parametrize("packed", [False, True])
def test_a_series_that_is_no_volume_is_refused(what, packed, tmp_path, refused):
    change, said = MIXED[what]
    write_series(tmp_path / "exam", scan(), change=change)
    path = zipped(tmp_path / "exam", tmp_path / "exam.zip") if packed else tmp_path / "exam"
    assert said in refused(path)


@pytest.mark.parametrize(("aside", "warned"), [(0.0005, False), (0.02, True), (0.07, True)])
def test_slices_that_lean_over_a_little_are_read(aside, warned, tmp_path, read):
    def lean(dataset, k):
        dataset.ImagePositionPatient = [14 - 4.4 * k, -60 + aside * k, 55]

    write_series(tmp_path / "exam", scan(), change=lean)
    warnings = read(tmp_path / "exam").warnings
    assert len(warnings) == warned
    if warned:
        angle = np.degrees(np.arctan(aside / 4.4))
        assert warnings == (f"the slices lean over by {angle:.2f} degrees; taken for upright",)


def test_a_copy_of_a_slice_is_refused_by_name(tmp_path, refused):
    write_series(tmp_path / "exam", scan())
    file = sorted((tmp_path / "exam").iterdir())[0]
    shutil.copy(file, tmp_path / "exam" / "copy")
    said = refused(tmp_path / "exam")
    assert "copy" in said
    assert file.name in said


@given(
    st.integers(2, 20),
    st.integers(0, 2**32 - 1),
    st.floats(0.5, 9),
    st.tuples(*[st.floats(-80, 80)] * 3),
    st.floats(0, 0.04),
)
def test_slices_are_put_in_order_along_their_normal(count, seed, apart, turn, jitter):
    rng = np.random.default_rng(seed)
    normal = rotation(turn)[:, 2]
    places = apart * (np.arange(count) + rng.uniform(-jitter, jitter, count))
    shuffled = rng.permutation(count)
    positions = np.array([3.0, -4, 5]) + places[shuffled, None] * normal
    made = stack(positions, normal, [str(k) for k in shuffled])
    assert [int(shuffled[k]) for k in made.order] == list(range(count))
    assert made.warnings == ()


@given(st.integers(4, 20), st.data())
def test_any_missing_slice_inside_is_told(count, data):
    gone = data.draw(st.integers(1, count - 2))
    places = [4.0 * k for k in range(count) if k != gone]
    positions = np.outer(places, [1, 0, 0])
    with pytest.raises(Refusal, match=rf"8\.00 mm after slice {gone} \(s{gone - 1}\)"):
        stack(positions, np.array([1.0, 0, 0]), [f"s{round(p / 4)}" for p in places])


@pytest.mark.parametrize("step", [0.85, 1.15])
def test_a_distance_that_differs_by_more_than_a_tenth_is_refused(step):
    places = np.cumsum([0, 1, 1, step, 1, 1])
    with pytest.raises(Refusal, match="not evenly spaced"):
        stack(np.outer(places, [0, 0, 1.0]), np.array([0, 0, 1.0]), list("abcdef"))


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ([0, 2, 1, 3, 4, 5, 6], "are not one stack in the order of their places"),
        ([0, 1, 2, 4, 5, 6], "not evenly spaced, 8.80 mm after slice 3"),
        ([0, 1, 1, 2, 3, 4], "lie at the same place"),
    ],
)
def test_frames_that_gdcm_puts_at_wrong_places_are_refused(order, said, tmp_path, refused):
    path = write_enhanced(tmp_path / "a", scan(), order)
    last = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((0, 0, len(order) - 1))
    apart = np.subtract(last, scan().TransformIndexToPhysicalPoint((0, 0, order[-1])))
    assert np.abs(apart).max() > 1, "GDCM began to see it: simplify"
    assert said in refused(path)


@pytest.mark.parametrize("order", [range(7), range(6, -1, -1)])
def test_frames_may_be_in_either_order(order, tmp_path, read):
    made = read(write_enhanced(tmp_path / "a", scan(), order)).image
    assert np.array_equal(values(made), values(scan())[list(order)])
    for k in range(7):
        place = scan().TransformIndexToPhysicalPoint((0, 0, order[k]))
        assert np.allclose(made.TransformIndexToPhysicalPoint((0, 0, k)), place, atol=1e-3)


def test_frames_without_places_and_several_files_of_frames_are_refused(tmp_path, refused):
    path = write_enhanced(tmp_path / "exam" / "a", scan())
    content = path.read_bytes()
    path.write_bytes(content.replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x30\x00DS"))
    assert "where its 7 frames lie is not told" in refused(path)
    path.write_bytes(content)
    shutil.copy(path, path.with_name("b"))
    assert "its series is 2 files of several frames each" in refused(tmp_path / "exam")


def test_a_damaged_mr_image_is_named(tmp_path, refused):
    write_series(tmp_path / "exam", scan())
    file = sorted((tmp_path / "exam").iterdir())[6]
    file.write_bytes(file.read_bytes()[:-100])
    assert (
        refused(tmp_path / "exam")
        == f"its image {file.name} is truncated or damaged: copy or download it again"
    )


def test_other_files_without_an_image_are_counted(tmp_path, read):
    write_series(tmp_path / "exam", scan())
    secondary = dicom_slice(scan(), 0, "1.2", STUDY, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    del secondary.PixelData
    del secondary.Rows
    secondary.save_as(tmp_path / "exam" / "broken", enforce_file_format=True)
    write_report(tmp_path / "exam" / "SR1")
    (tmp_path / "exam" / "readme.txt").write_text("no DICOM")
    assert read(tmp_path / "exam").warnings == (
        "1 DICOM files hold no image that can be read and were left out: broken",
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


def test_the_same_in_a_zip(exam, tmp_path, read, refused):
    path = zipped(exam, tmp_path / "exam.zip")
    assert "2 series are sagittal volumes" in refused(path)
    made = read(path, series="T1 sag")
    assert np.array_equal(values(made.image), values(scan(seed=1)))
    assert len(made.dicom_files) == 7


def unsafe(path: Path, name: str, mode: int = 0o644) -> Path:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "content")
    return path


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("/etc/passwd", 0o644, "has an absolute path"),
        ("C:\\windows\\a", 0o644, "has an absolute path"),
        ("a/../../b", 0o644, "leads out of the zip"),
        ("..\\b", 0o644, "leads out of the zip"),
        ("link", stat.S_IFLNK | 0o777, "is a link"),
    ],
)
def test_zips_that_lead_elsewhere_are_refused(name, mode, said, tmp_path, refused):
    write_series(tmp_path / "exam", scan())
    path = unsafe(zipped(tmp_path / "exam", tmp_path / "exam.zip"), name, mode)
    assert said in refused(path)


def test_a_zip_of_more_than_8_gib_is_refused(tmp_path, refused, monkeypatch):
    assert dicom_zip.MOST_BYTES == 8 * 1024**3
    write_series(tmp_path / "exam", scan())
    path = zipped(tmp_path / "exam", tmp_path / "exam.zip")
    monkeypatch.setattr(dicom_zip, "MOST_BYTES", 7 * 70 * 64 * 2)
    assert "GiB unpacked" in refused(path)


def test_an_encrypted_zip_is_refused(tmp_path, refused):
    write_series(tmp_path / "exam", scan())
    path = zipped(tmp_path / "exam", tmp_path / "exam.zip")
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = content.find(signature)
        while place >= 0:
            content[place + offset] |= 1
            place = content.find(signature, place + 4)
    path.write_bytes(content)
    assert "is encrypted" in refused(path)


def test_flipped_bits_in_a_zip_are_refused(tmp_path, refused):
    write_series(tmp_path / "exam", scan())
    path = zipped(tmp_path / "exam", tmp_path / "exam.zip")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    assert "truncated or damaged" in refused(path)


def test_hidden_members_of_a_zip_are_passed_over(tmp_path, read):
    write_series(tmp_path / "exam", scan())
    write_series(tmp_path / "exam" / "__MACOSX" / ".Trash", scan(seed=1))
    assert len(read(zipped(tmp_path / "exam", tmp_path / "exam.zip")).dicom_files) == 7


def test_a_series_means_nothing_for_a_file(tmp_path, read):
    assert np.array_equal(values(read(write(scan(), tmp_path / "a.mha"), series="T2").image), values(scan()))
