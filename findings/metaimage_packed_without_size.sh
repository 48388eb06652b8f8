#!/bin/sh
# SimpleITK 2.5.7 returns noise for a compressed MetaImage in one file (.mha, ElementDataFile = LOCAL) whose header
# has no CompressedDataSize. It raises nothing; native code writes "Uncompress failed" to stderr. With the size in
# the header, or with the same data in a file of their own (.mhd and .zraw, without the size), the values are right.
# MetaIO's sources were corrected in July 2026; this release of SimpleITK has the earlier ones.
#
# Seen: no CompressedDataSize, .mha: no error, wrong values; .mhd: right; CompressedDataSize, .mha: right.
# The script fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 numpy==2.3.5
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

folder = Path(sys.argv[1])
values = np.arange(4 * 5 * 6, dtype="<i2").reshape(4, 5, 6)
packed = zlib.compress(values.tobytes())
HEADER = [
    "ObjectType = Image",
    "NDims = 3",
    "BinaryData = True",
    "BinaryDataByteOrderMSB = False",
    "CompressedData = True",
    "TransformMatrix = 1 0 0 0 1 0 0 0 1",
    "Offset = 0 0 0",
    "ElementSpacing = 1 1 1",
    "DimSize = 6 5 4",
    "ElementType = MET_SHORT",
]


def is_right(name, *lines, data=b""):
    file = folder / name
    file.write_bytes("\n".join([*HEADER, *lines, ""]).encode() + data)
    return bool(np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(file))), values))


(folder / "image.zraw").write_bytes(packed)
seen = {
    ".mha without the size": is_right("image.mha", "ElementDataFile = LOCAL", data=packed),
    ".mhd without the size": is_right("image.mhd", "ElementDataFile = image.zraw"),
    ".mha with the size": is_right(
        "sized.mha", f"CompressedDataSize = {len(packed)}", "ElementDataFile = LOCAL", data=packed
    ),
}
print(seen)
assert seen == {
    ".mha without the size": False,
    ".mhd without the size": True,
    ".mha with the size": True,
}, "the behavior changed"
PYTHON
