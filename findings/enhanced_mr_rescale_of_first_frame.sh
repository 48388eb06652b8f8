#!/bin/sh
# SimpleITK 2.5.7 reads an enhanced MR image whose frames state a RescaleSlope each (PixelValueTransformationSequence
# in PerFrameFunctionalGroupsSequence, DICOM PS3.3 C.7.6.16): every frame gets the slope and intercept of the
# first one, without a warning. pydicom hands out each frame's own values.
#
# Seen: stored values 100 in three frames with slopes 2, 3 and 4 become 200, 200, 200; 200, 300, 400 are right.
# The script fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.3.5
"$folder/venv/bin/python" - "$folder/enhanced.dcm" <<'PYTHON'
import sys

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

SLOPES = (2, 3, 4)


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


image = item(
    SOPClassUID=EnhancedMRImageStorage,
    SOPInstanceUID=generate_uid(),
    StudyInstanceUID=generate_uid(),
    SeriesInstanceUID=generate_uid(),
    Modality="MR",
    NumberOfFrames=3,
    Rows=4,
    Columns=5,
    SamplesPerPixel=1,
    PhotometricInterpretation="MONOCHROME2",
    BitsAllocated=16,
    BitsStored=16,
    HighBit=15,
    PixelRepresentation=0,
    PixelData=np.full((3, 4, 5), 100, "<u2").tobytes(),
)
image.file_meta = FileMetaDataset()
image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
image.SharedFunctionalGroupsSequence = [
    item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[1, 1], SliceThickness=1)],
    )
]
image.PerFrameFunctionalGroupsSequence = [
    item(
        PlanePositionSequence=[item(ImagePositionPatient=[0, 0, k])],
        PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=slope, RescaleType="US")],
    )
    for k, slope in enumerate(SLOPES)
]
path = sys.argv[1]
image.save_as(path, enforce_file_format=True)

by_itk = sitk.GetArrayFromImage(sitk.ReadImage(path))[:, 0, 0].tolist()
read = dcmread(path)
own = [
    int(frame[0, 0] * group.PixelValueTransformationSequence[0].RescaleSlope)
    for frame, group in zip(read.pixel_array, read.PerFrameFunctionalGroupsSequence, strict=True)
]
print("SimpleITK", sitk.Version.VersionString(), by_itk, "each frame's own slope", own)
assert own == [200, 300, 400]
assert by_itk == [200, 200, 200], "the behavior changed"
PYTHON
