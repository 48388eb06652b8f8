"""The same for Python: `from nnunetv2_spinesegdiff import SpineSegmenter`."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, SupportsIndex
from weakref import WeakSet

import SimpleITK as sitk
import torch

from ..errors import UserError
from ..images.finding import MOST_BYTES, find_scans, unique_names
from ..images.reading import read_scan, scan_of
from ..images.scan import Scan, ScanSource
from ..inference.settings import PredictionSettings
from ..sharing.opening import open_model
from .arguments import device_of, folds_of, no_scan, path_of, series_of, slices_of
from .folders import FoldersOfCalls
from .many import Failure, Given, ImageInMemory, segment_each
from .model import SliceModel
from .outputs import made_in
from .result import Segmentation
from .scratch import scratch_folder
from .segment import segment_scan
from .settings import SegmentationSettings


class SpineSegmenter:
    """A trained model, loaded once, for any number of scans.

        with SpineSegmenter(preset="fast") as segmenter:
            result = segmenter.segment("scan.nii.gz")
        result.mask                    # SimpleITK image on the scan's grid
        result.levels.names            # {1: "L5", 201: "L5-S1", ...}, of the numbers in result.levels.image
        result.save("out")             # the files that `spinesegdiff segment` writes

    Nothing is printed. One object must not be used by two threads at a time.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        device: str | torch.device | None = None,
        folds: str | SupportsIndex | Iterable[str | SupportsIndex] | None = None,
        checkpoint: str | None = None,
        slices: str | SupportsIndex = "auto",
        series: str | SupportsIndex | None = None,
        any_plane: bool = False,
        lowest_disc: str | None = None,
        mirroring: bool = True,
        refine: bool = True,
        preset: str | None = None,
        precision: str = "auto",
        **sampler: Any,
    ):
        """
        Args:
            model: name of a bundled model, zip of `spinesegdiff export`, or a trained model's folder in
                nnUNet_results; without it the bundled model "spider_lumbar". A bundled model's name wins over
                a file of that name in the working folder, which is "./NAME" or a `Path`.
            device: without it a CUDA device if there is one, else the CPU.
            folds, checkpoint: as `spinesegdiff segment -f`, `-chk`; one fold (0, "0", "all") or several.
            slices, series, any_plane, lowest_disc, refine, preset, precision: as its flags.
            mirroring: False is `--disable_tta`.
            sampler: `num_samples`, `t_start`, `ddim_steps`, `fusion_steps`, `eta`, `seed`, `stage1_weight`.

        Raises:
            UserError: there is no such model, it is damaged or not trusted, or cannot do what is asked for.
        """
        with ExitStack() as stack:
            self.settings = SegmentationSettings(
                slices=slices_of(slices),
                series=series_of(series),
                any_plane=any_plane,
                lowest_disc=lowest_disc,
                mirroring=mirroring,
                prediction=PredictionSettings(refine, preset, sampler, precision, save_uncertainty=True),
            )
            where = device_of(device)
            scratch = stack.enter_context(scratch_folder())
            opened = open_model(path_of(model), scratch, folds=folds_of(folds), checkpoint=checkpoint)
            self._model = SliceModel(opened, self.settings, where)
            self._folders = FoldersOfCalls(scratch)
            self._running = WeakSet[Generator[Segmentation | Failure]]()
            self._closed = False
            self._stack = stack.pop_all()

    def segment(self, scan: str | Path | sitk.Image, *, name: str | None = None) -> Segmentation:
        """Segment one scan: a file, a DICOM folder or zip, or a SimpleITK image.

        Of a zipped exam a DICOM segmentation can be saved until the next call.

        Args:
            name: of the result, its files and rows; without one that of the file or folder, and "scan" for
                an image.

        Raises:
            UserError: it cannot be read, is not a scan of a spine, or is several scans; the message states
                which.
        """
        self._check_open()
        if name is not None:
            _check_name(name)
        with self._folders.one() as folder:
            read = self._read(scan, folder, name)
            return segment_scan(read, self.settings.slices, self._model, self.settings.lowest_disc)

    def segment_each(
        self, scans: str | Path | sitk.Image | Iterable[str | Path | sitk.Image]
    ) -> Iterator[Segmentation | Failure]:
        """Segment many scans in order, the next being read meanwhile; whatever is wrong with one, the others
        go on, and a `Failure` stands in its place.

        Scans of different paths may have the same name: save these into different folders. Of a zipped exam
        a DICOM segmentation can be saved until the next scan is asked for.

        Args:
            scans: a folder, or paths and SimpleITK images as for `segment`, in any mixture. Images are called
                scan_0, scan_1, ... by their places; they are read later, but may be changed by then.

        Raises:
            UserError: the object was closed, or `scans` are none of these.
        """
        self._check_open()
        if isinstance(scans, str | os.PathLike | sitk.Image):
            scans = [scans]
        elif not isinstance(scans, Iterable):
            raise UserError(None, no_scan(scans))
        results = self._each(one for place, given in enumerate(scans) for one in _scans_of(given, place))
        self._running.add(results)
        return self._while_open(results)

    def close(self) -> None:
        """Remove what was unpacked; called by `with` and when the object goes. No scan is taken any more."""
        self._closed = True
        try:
            for results in self._running:
                results.close()  # it reads the next scans into what is removed here
        finally:
            self._stack.close()

    def __enter__(self) -> SpineSegmenter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self, scan: str | Path | sitk.Image, folder: Path, name: str | None) -> Scan:
        if isinstance(scan, sitk.Image):
            return scan_of(scan, name or "scan", any_plane=self.settings.any_plane)
        if not isinstance(scan, str | os.PathLike):
            raise UserError(None, no_scan(scan))
        sources = find_scans(Path(scan), made_in)
        if len(sources) > 1:
            raise UserError(scan, f"holds {len(sources)} scans", "give one of them, or use segment_each")
        source = replace(sources[0], name=name or sources[0].name)
        return read_scan(source, folder, series=self.settings.series, any_plane=self.settings.any_plane)

    def _each(self, sources: Iterable[Given]) -> Generator[Segmentation | Failure]:
        with self._folders.one() as folder:
            for _, result in segment_each(sources, self._model, self.settings, folder, lambda done: done):
                yield result

    def _while_open(self, results: Iterable[Segmentation | Failure]) -> Iterator[Segmentation | Failure]:
        self._check_open()
        for result in results:
            yield result
            self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise UserError(None, "this SpineSegmenter was closed", "make a new one")


def _check_name(name: str) -> None:
    """Must be such a name as scans have by their files."""
    if not isinstance(name, str) or not name.isprintable() or unique_names([PurePath(name)]) != [name]:
        raise UserError(
            f"name {name!r}",
            "cannot be a name of files",
            f"leave out slashes, endings and dots in front, and keep it below {MOST_BYTES} bytes",
        )


def _scans_of(given: str | Path | sitk.Image, place: int) -> Sequence[Given]:
    called = ScanSource(f"scan_{place}", Path(f"scan_{place}"), "file")
    if isinstance(given, sitk.Image):
        return [ImageInMemory(called, sitk.Image(given))]  # it is read later, and the caller may change it
    if not isinstance(given, str | os.PathLike):
        return [Failure(called, f"{called.path}: {no_scan(given)}")]
    path = Path(given)
    try:
        return find_scans(path, made_in)
    except UserError as error:
        return [Failure(ScanSource(path.name, path, "dicom" if path.is_dir() else "file"), str(error))]
