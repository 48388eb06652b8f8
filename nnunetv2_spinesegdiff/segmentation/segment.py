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
from .cutting import SegmentedSlices, network_input, put_together, views_for
from .findings import anatomy_warnings, check_spine_found, edge_warnings, warnings_of, window_warnings
from .measurements import rows_of
from .midsagittal import MidsagittalSearch
from .model import SINGLE_SLICES, SliceModel
from .result import Segmentation, ShownSlice
from .settings import Slices


def segment_scan(scan: Scan, slices: Slices, model: SliceModel) -> Segmentation:
    """Scale, cut, predict, put back and measure as the converter and nnU-Net would.

    For "auto" a model of single slices finds the midsagittal one; another takes the middle one.

    Raises:
        UserError: there is no such slice, no spine in it, or not enough memory; the line names the scan.
    """
    started = time.perf_counter()
    note = ""
    try:
        scaled = scale_intensities(scan.image)
        whole = extract_slice(scaled, slices="all")
        if slices == "auto":
            slices = "middle"
            if model.finds_midsagittal and whole.num_slices > 1:
                search = MidsagittalSearch(whole)
                with model.first_look():
                    for number in search:
                        seen = model.predictor.predict(*network_input(whole.part(number)))
                        search.see(number, seen.mask)
                slices, note = search.found()
        wanted = whole.part(slices)
        views = views_for(model.cut, scaled, whole, wanted)
        predicted = []
        for view in views:
            predicted.append(model.predictor.predict(*network_input(view)))
        segmented = put_together(wanted, views, predicted)
        check_spine_found(segmented.mask)
    except (ValueError, UserError) as error:
        raise UserError(scan.source.path, f"{error}") from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        smaller = "crop it" if model.device.type == "cpu" else "predict on the device cpu"
        raise UserError(
            scan.source.path,
            f"{model.device} has not enough memory for it",
            f"close other programs, or {smaller}",
        ) from None
    # Bounds that were learnt from whole scans say nothing of one slice's area.
    calibration = model.calibration if model.cut == SINGLE_SLICES else None
    rows = rows_of(scan.source.name, segmented, _signal(scan, segmented), calibration, model.agreement_limit)
    measured = segmented.mask[segmented.measured]
    warnings = [
        *scan.warnings,
        *([note] if note else []),
        *window_warnings(segmented.seen),
        *warnings_of(rows),
        *edge_warnings(measured, segmented.view),
        *anatomy_warnings(measured, segmented.spacing[1:]),
    ]
    return Segmentation(
        scan,
        segmented.mask_in_scan,
        segmented.uncertainty_in_scan,
        rows,
        warnings,
        _shown(segmented, model),
        time.perf_counter() - started,
    )


def _signal(scan: Scan, segmented: SegmentedSlices) -> np.ndarray:
    """The measured slice as the scanner has it: scaling for a network clips the fluid, which is brightest."""
    at = segmented.view.first_slice + segmented.measured
    return sitk.GetArrayFromImage(extract_slice(signal_from_zero(scan.image), slices=at).image)[0]


def _shown(segmented: SegmentedSlices, model: SliceModel) -> ShownSlice:
    at = segmented.measured
    return ShownSlice(
        segmented.image[at],
        segmented.mask[at],
        segmented.uncertainty[at],
        (segmented.spacing[1], segmented.spacing[2]),
        model.measure.name,
        model.measure.highest,
    )
