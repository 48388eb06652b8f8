"""Our networks under dotted names, so that nnU-Net's own trainer builds them from a plans.json.

nnU-Net calls `architecture.network_class_name` with the channels and `arch_kwargs`. What these describe is
made of classes that `planned` knows; nothing else is looked up by a name in a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from ..diffusion.settings import SamplerSettings
from .denoiser import DenoisingUNet
from .diffusion_network import DiffusionNetwork
from .planned import architecture_class, denoiser_of, planned_network, resolved_kwargs
from .two_stage import TwoStageNetwork


class PlannedDiffusionNetwork(DiffusionNetwork):
    """A `DiffusionNetwork` with all that decides what its weights mean in its arguments."""

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        planned: Mapping[str, Any],
        width: float,
        image_encoder: bool,
        sampler: Mapping[str, Any],
        deep_supervision: bool = False,
    ):
        """
        Args:
            input_channels, num_classes: of image and segmentation heads.
            planned: `architecture` of the plans that it was trained with, see `planned_network`.
            width: of denoiser and image encoder, a share of the planned features.
            image_encoder: whether a second encoder sees the image alone.
            sampler: the fields of `SamplerSettings`.
            deep_supervision: nnU-Net's switch; there is no stage whose outputs it would be for.

        Raises:
            ValueError: `planned` names a class that is not known here.
        """
        denoiser = _denoiser(planned, input_channels, num_classes, width, image_encoder)
        super().__init__(denoiser, SamplerSettings(**sampler))
        self.decoder.deep_supervision = deep_supervision


class PlannedTwoStageNetwork(TwoStageNetwork):
    """A `TwoStageNetwork` with all that decides what its weights mean in its arguments."""

    def __init__(
        self,
        *,
        input_channels: int,
        num_classes: int,
        planned: Mapping[str, Any],
        sampler: Mapping[str, Any],
        deep_supervision: bool = False,
        **denoiser: Any,
    ):
        """Args and Raises: as of `PlannedDiffusionNetwork`; stage 1 is as planned, whatever the width."""
        stage1 = planned_network(planned, input_channels, num_classes, deep_supervision=deep_supervision)
        refiner = _denoiser(planned, input_channels, num_classes, **denoiser)
        super().__init__(stage1, refiner, SamplerSettings(**sampler))


def _denoiser(
    planned: Mapping[str, Any], input_channels: int, num_classes: int, width: float, image_encoder: bool
) -> DenoisingUNet:
    def unet(channels: int) -> nn.Module:
        return planned_network(planned, channels, num_classes, width=width)

    return denoiser_of(unet, input_channels, num_classes, image_encoder)


OURS = {f"{cls.__module__}.{cls.__name__}": cls for cls in (PlannedDiffusionNetwork, PlannedTwoStageNetwork)}
"""By the names that plans have for them."""


def described(
    planned: Mapping[str, Any],
    *,
    two_stage: bool,
    width: float,
    image_encoder: bool,
    sampler: SamplerSettings,
) -> dict[str, Any]:
    """`architecture` for plans from which nnU-Net's own trainer builds one of these networks.

    Args:
        planned: `architecture` of the plans that the network was trained with.
        two_stage: whether there is a stage 1.
        width, image_encoder, sampler: see `PlannedDiffusionNetwork`.
    """
    cls = PlannedTwoStageNetwork if two_stage else PlannedDiffusionNetwork
    return {
        "network_class_name": f"{cls.__module__}.{cls.__name__}",
        "arch_kwargs": {
            "planned": dict(planned),
            "width": width,
            "image_encoder": image_encoder,
            "sampler": dict(vars(sampler)),
        },
        "_kw_requires_import": [],
    }


def is_described(architecture: Mapping[str, Any]) -> bool:
    """Whether `architecture` is what `described` gives, and not what nnU-Net plans."""
    name = architecture.get("network_class_name")
    return isinstance(name, str) and name in OURS


def check_architecture(architecture: object) -> None:
    """Whether only classes that are known here are named by `architecture` of a plans.json.

    Raises:
        ValueError: the class is another one, or this does not describe a network.
    """
    if not isinstance(architecture, Mapping):
        raise ValueError("describes no network")
    planned: Any = architecture
    if is_described(architecture):
        planned = _planned_part(architecture)
    architecture_class(planned.get("network_class_name"))
    resolved_kwargs(planned)


def _planned_part(architecture: Mapping[str, Any]) -> Mapping[str, Any]:
    """The planned architecture in what `described` gives; ValueError where the rest is not of that kind."""
    kwargs = architecture.get("arch_kwargs")
    keys = {"planned", "width", "image_encoder", "sampler"}
    if (
        not isinstance(kwargs, Mapping)
        or set(kwargs) != keys
        or architecture.get("_kw_requires_import") != []
    ):
        raise ValueError("describes no network of SpineSegDiff")
    planned, sampler, width = kwargs["planned"], kwargs["sampler"], kwargs["width"]
    kinds = isinstance(planned, Mapping) and isinstance(sampler, Mapping) and isinstance(width, int | float)
    if not kinds or width <= 0 or not isinstance(kwargs["image_encoder"], bool):
        raise ValueError("describes no network of SpineSegDiff")
    try:
        SamplerSettings(**sampler)
    except TypeError as error:
        raise ValueError(f"describes no sampler ({error})") from None
    return planned
