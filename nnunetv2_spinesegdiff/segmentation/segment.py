"""One scan, segmented."""

from __future__ import annotations

import time

import numpy as np
import SimpleITK as sitk

from ..dataset_conversion.geometry import extract_slice
from ..diffusion.batching import is_out_of_memory
from ..errors import UserError
from ..images.intensities import scale_intensities, signal_from_zero
from ..images.scan import Scan
from .cutting import SegmentedSlices, segment_slices
from .findings import anatomy_warnings, check_spine_found, edge_warnings, warnings_of, window_warnings
from .measurements import rows_of
from .model import SINGLE_SLICES, SliceModel
from .result import Segmentation, ShownSlice
from .settings import Slices


def segment_scan(scan: Scan, slices: Slices, model: SliceModel) -> Segmentation:
    """Scale, cut, predict, put back and measure as the converter and nnU-Net would.

    Raises:
        UserError: there is no such slice, no spine in it, or not enough memory; the line names the scan.
    """
    started = time.perf_counter()
    try:
        segmented = segment_slices(scale_intensities(scan.image), slices, model)
        check_spine_found(segmented.mask)
    except (ValueError, UserError) as error:
        raise UserError(scan.source.path, f"{error}") from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            scan.source.path,
            f"{model.device} has not enough memory for it",
            "close other programs, "
            f"{'or crop it' if model.device.type == 'cpu' else 'or predict on the device cpu'}",
        ) from None
    # Bounds that were learnt from whole scans say nothing of one slice's area.
    calibration = model.calibration if model.cut == SINGLE_SLICES else None
    rows = rows_of(scan.source.name, segmented, _signal(scan, segmented), calibration, model.agreement_limit)
    measured = segmented.mask[segmented.measured]
    implausible = anatomy_warnings(measured, segmented.spacing[1:])
    seen = [*filter(None, [segmented.note]), *window_warnings(segmented.seen)]
    cut_off = edge_warnings(measured, segmented.view)
    return Segmentation(
        scan,
        segmented.mask_in_scan,
        segmented.uncertainty_in_scan,
        rows,
        [*scan.warnings, *seen, *warnings_of(rows), *cut_off, *implausible],
        _shown(segmented, model),
        time.perf_counter() - started,
    )


def _signal(scan: Scan, segmented: SegmentedSlices) -> np.ndarray:
    """The measured slice as the scanner has it: scaling for a network clips the fluid, which is brightest."""
    at = segmented.view.first_slice + segmented.measured
    return sitk.GetArrayFromImage(extract_slice(signal_from_zero(scan.image), slices=at).image)[0]


def _shown(segmented: SegmentedSlices, model: SliceModel) -> ShownSlice:
    at = segmented.measured
    measure = model.measure
    return ShownSlice(
        segmented.image[at],
        segmented.mask[at],
        segmented.uncertainty[at],
        (segmented.spacing[1], segmented.spacing[2]),
        measure.name,
        measure.highest,
    )
