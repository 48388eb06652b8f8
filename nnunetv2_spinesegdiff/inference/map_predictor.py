"""nnU-Net's prediction of one case, with maps in addition to the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from nnunetv2.inference.sliding_window_prediction import compute_gaussian
from torch import Tensor

from ..diffusion.fusion import class_entropy
from ..diffusion.settings import EVERYTHING, NOTHING
from ..measures import ENTROPY
from ..nnunet_hooks import stock
from ..uncertainty.stored import Calibration
from .export import CaseMaps
from .mirrored import predict_mirrored
from .settings import PredictionSettings, autocast
from .tiles import TileMaps


class MapPredictor(stock.nnUNetPredictor):
    """The stock predictor, whose cases get maps of uncertainty and stage 1's logits, too.

    Attributes:
        settings: how to predict.
        calibration: what `spinesegdiff calibrate` stored with the model, where it fits these settings.
        maps: those of the case that is or was predicted.
    """

    settings = PredictionSettings()
    network: Any
    use_mirroring: bool

    def __init__(self, *args: Any, settings: PredictionSettings | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.settings = settings or self.settings
        self.calibration: Calibration | None = None
        self.maps = CaseMaps()
        self._folds: list[TileMaps] = []

    @property
    def wants_maps(self) -> bool:
        """Whether a case needs its maps."""
        return self.settings.save_uncertainty

    @property
    def mirrored_axes(self) -> Sequence[int] | None:
        """Axes of the mirrored copies, see nnU-Net's `allowed_mirroring_axes`; None mirrors nothing."""
        wanted = self.use_mirroring and self.settings.mirrored != NOTHING
        return self.allowed_mirroring_axes if wanted else None

    @property
    def _temperatures(self) -> Tensor | None:
        return torch.tensor(self.calibration.temperatures) if self.calibration else None

    def predict_logits_from_preprocessed_data(self, data: Tensor) -> Tensor:
        """Stock; `maps` become those of this case."""
        self._folds = []
        logits = super().predict_logits_from_preprocessed_data(data)
        self.maps.uncertainty = self.maps.stage1 = None
        if self._folds:
            self._keep_maps(data, logits)
        return logits

    @torch.inference_mode()
    def _keep_maps(self, data: Tensor, logits: Tensor) -> None:
        """Average the maps over the folds, as nnU-Net does with the logits."""
        # nnU-Net pads to the patch size and cuts the padding off again without telling where it was.
        patch = self.configuration_manager.patch_size
        _, crop = stock.pad_nd_image(data[:1], patch, "constant", {"value": 0}, True, None)
        inside = (slice(None), *crop[1:])
        folds = [[m[inside] for m in fold.means()] for fold in self._folds]
        uncertainty, *stage1 = (torch.stack(maps).mean(0) for maps in zip(*folds, strict=True))
        if len(folds) > 1 and self.network.fusion.measure == ENTROPY:
            # Folds that contradict each other may each be sure; what they say together is not.
            regions = bool(self.network.heads_are_regions)
            together = class_entropy(logits[None].cpu(), regions, self._temperatures)[0]
            uncertainty = torch.maximum(uncertainty, together)
        self.maps.uncertainty = uncertainty.numpy()
        self.maps.stage1 = stage1[0].numpy() if stage1 else None
        self._folds = []

    def _internal_get_sliding_window_slicers(self, image_size: tuple[int, ...]) -> Any:
        """Stock, once a fold; the tiles remember what is added to their maps."""
        tiles = super()._internal_get_sliding_window_slicers(image_size)
        if not self.wants_maps:
            return tiles
        patch, cpu = tuple(self.configuration_manager.patch_size), torch.device("cpu")
        gaussian = compute_gaussian(patch, sigma_scale=1.0 / 8, value_scaling_factor=10, device=cpu)
        self._folds.append(TileMaps(tiles, image_size, gaussian if self.use_gaussian else 1))
        return self._folds[-1]

    @torch.inference_mode()
    def _internal_maybe_mirror_and_predict(self, x: Tensor) -> Tensor:
        with autocast(self.settings.precision, self.device):
            predicted = predict_mirrored(
                self.network,
                x,
                self.mirrored_axes,
                mirror_refinement=self.settings.mirrored == EVERYTHING,
                # In float32 a CPU gains nothing by it, and one by one the numbers are nnU-Net's own.
                side_by_side=self.device.type == "cuda" or self.settings.precision == "bfloat16",
            )
        if self._folds:
            maps = [predicted.steps.uncertainty(self._temperatures), predicted.stage1]
            self._folds[-1].add([m[0] for m in maps if m is not None])
        return predicted.logits
