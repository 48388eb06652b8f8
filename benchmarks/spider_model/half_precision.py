"""Count the pixels that half-precision storage of the weights changes.

    spinesegdiff export $MODEL -f 0 1 2 -o full.zip
    python benchmarks/spider_model/half_precision.py full.zip spider_lumbar.zip data/spider_middle \
        -o benchmarks/spider_model/results/half_precision.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tqdm import tqdm

from nnunetv2_spinesegdiff import Segmentation, SpineSegmenter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("full", help="zip in full precision")
    parser.add_argument("half", help="zip in half precision")
    parser.add_argument("scans", type=Path, help="folder of scans")
    parser.add_argument("--every", type=int, default=8, help="take every n-th scan")
    parser.add_argument("-o", type=Path, required=True, help="Markdown file to write")
    options = parser.parse_args()
    paths = sorted(options.scans.glob("*.mha"))[:: options.every]
    changed = labeled = compared = 0
    with SpineSegmenter(options.full) as full, SpineSegmenter(options.half) as half:
        for a, b in tqdm(
            zip(full.segment_each(paths), half.segment_each(paths), strict=True), total=len(paths)
        ):
            if isinstance(a, Segmentation) and isinstance(b, Segmentation):
                masks = [sitk.GetArrayFromImage(one.mask) for one in (a, b)]
                changed += int(np.count_nonzero(masks[0] != masks[1]))
                labeled += int(np.count_nonzero(masks[0]))
                compared += 1
    text = (
        "# Half-precision storage\n\n"
        f"{compared} scans, {labeled} labeled pixels in full precision: {changed} pixels "
        f"({changed / labeled:.3%}) differ when the weights are stored in half precision.\n"
    )
    options.o.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
