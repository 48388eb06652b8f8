"""What `convert` does where nothing else is asked for: for its signature and for the command line.

Kept free of slow imports, so that the command's help answers at once.
"""

from __future__ import annotations

import os

DATASET_NAME = "SPIDER"
CONTRAST = "t1t2"
T2_SOURCE = "t2"
PARTIAL_VERTEBRAE = "vertebra"
SLICES = "middle"
DIM = "2d"
SEED = 12345

MAX_OBLIQUE_DEG = 10.0
"""The paper leaves 18 oblique series out of its evaluation but names no angle. Planning along the spine turns
a sagittal series by a few degrees; at 10, a slice strays 17 mm sideways within 10 cm: out of the canal."""

NUM_PROCESSES = min(8, os.cpu_count() or 1)
"""More readers than this wait for the disk, and each of them holds a volume in memory."""
