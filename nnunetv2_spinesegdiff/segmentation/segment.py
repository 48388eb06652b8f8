"""One scan, segmented."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from ..dataset_conversion.geometry import extract_slice, put_back
from ..diffusion.batching import is_out_of_memory
from ..errors import UserError
from ..images.intensities import scale_intensities, signal_from_zero
from ..images.scan import Scan
from .cutting import SegmentedSlices, network_input, put_together, views_for
from .findings import anatomy_warnings, check_spine_found, level_warnings, warnings_of, window_warnings
from .measurements import rows_of
from .measuring.edges import beyond_edge
from .measuring.levels import number_levels
from .midsagittal import MidsagittalSearch
from .model import SINGLE_SLICES, SliceModel
from .result import ScanLevels, Segmentation, ShownSlice
from .settings import Slices


def segment_scan(
    scan: Scan, slices: Slices, model: SliceModel, lowest_disc: str | None = None
) -> Segmentation:
    """Scale, cut, predict, put back and measure as the converter and nnU-Net would.

    For "auto" a model of single slices finds the midsagittal one; another takes the middle one.

    Args:
        lowest_disc: name of the lowest disc, one of `LOWEST_DISCS`; None to find it out.

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
    signal = _signal(scan, segmented)
    edges = np.stack([beyond_edge(one) for one in signal])
    levels = number_levels(segmented.mask, segmented.spacing[1:], edges, lowest_disc)
    at = segmented.measured
    shown = replace(levels, numbers=levels.numbers[at])
    rows = rows_of(scan.source.name, segmented, signal[at], shown, calibration, model.agreement_limit)
    warnings = [
        *scan.warnings,
        *([note] if note else []),
        *window_warnings(segmented.seen),
        *warnings_of(rows),
        *level_warnings(levels),
        *anatomy_warnings(segmented.mask[at], segmented.spacing[1:]),
    ]
    return Segmentation(
        scan,
        segmented.mask_in_scan,
        segmented.uncertainty_in_scan,
        ScanLevels(put_back(levels.numbers, segmented.view), levels.names, levels.confidence, levels.basis),
        rows,
        warnings,
        _shown(segmented, shown.numbers, model),
        time.perf_counter() - started,
    )


def _signal(scan: Scan, segmented: SegmentedSlices) -> np.ndarray:
    """The slices as the scanner has them: scaling for a network clips the fluid, which is brightest."""
    slices = "all" if segmented.view.num_slices > 1 else segmented.view.first_slice
    return sitk.GetArrayFromImage(extract_slice(signal_from_zero(scan.image), slices=slices).image)


def _shown(segmented: SegmentedSlices, numbers: np.ndarray, model: SliceModel) -> ShownSlice:
    at = segmented.measured
    return ShownSlice(
        segmented.image[at],
        segmented.mask[at],
        segmented.uncertainty[at],
        numbers,
        (segmented.spacing[1], segmented.spacing[2]),
        model.measure.name,
        model.measure.highest,
    )
