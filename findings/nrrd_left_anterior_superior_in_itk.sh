#!/bin/sh
# SimpleITK up to 2.5.5 misreads NRRD files in the space "left-anterior-superior": the signs of the first two axes are both
# wrong in origin and direction, so the volume is turned by half a turn about the patient's long axis, left for right and
# front for back. No error and no warning. SimpleITK 2.5.6 reads it correctly, so the same file has two places, by the
# installed version.
#
# Seen, for origin (10, 20, 30) in left-anterior-superior, which is (10, -20, 30) in ITK's left-posterior-superior:
# 2.5.5 gives origin (-10, 20, 30), direction diag(-1, 1, 1); 2.5.6 gives (10, -20, 30), diag(1, -1, 1). Both read
# right-anterior-superior and left-posterior-superior correctly. The script fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/read.py" <<'PYTHON'
import sys

import numpy as np
import SimpleITK as sitk

RIGHT = {  # of the axes x, y and z in left-posterior-superior
    "left-posterior-superior": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1),
}
folder, version, *wrong = sys.argv[1:]
assert sitk.__version__ == version
for space, signs in RIGHT.items():
    path = f"{folder}/{space}.nrrd"
    with open(path, "wb") as file:
        file.write(
            b"NRRD0004\ntype: uint8\ndimension: 3\nspace: " + space.encode() + b"\nsizes: 2 3 4\n"
            b"space directions: (1,0,0) (0,1,0) (0,0,1)\nkinds: domain domain domain\nencoding: raw\n"
            b"space origin: (10,20,30)\n\n" + bytes(range(24))
        )
    image = sitk.ReadImage(path)
    diagonal = np.diag(np.reshape(image.GetDirection(), (3, 3)))
    correct = np.allclose(diagonal, signs) and np.allclose(image.GetOrigin(), np.multiply((10, 20, 30), signs))
    print(version, space, image.GetOrigin(), diagonal, "correct" if correct else "wrong")
    assert correct == (space not in wrong)
    if not correct:
        assert np.allclose(image.GetOrigin(), (-10, 20, 30))
PYTHON
for version in 2.5.5 2.5.6; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "SimpleITK==$version" "numpy<3"
done
"$folder/2.5.5/bin/python" "$folder/read.py" "$folder" 2.5.5 left-anterior-superior
"$folder/2.5.6/bin/python" "$folder/read.py" "$folder" 2.5.6
