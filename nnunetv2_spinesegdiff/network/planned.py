"""Networks as nnU-Net's plans describe them, made of classes that are known here and of no others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dynamic_network_architectures.architectures.unet import (
    PlainConvUNet,
    ResidualEncoderUNet,
    ResidualUNet,
)
from dynamic_network_architectures.building_blocks.residual import BasicBlockD, BottleneckD
from torch import nn

from ..text import reason_of
from .denoiser import DenoisingUNet

ARCHITECTURES = {cls.__name__: cls for cls in (PlainConvUNet, ResidualEncoderUNet, ResidualUNet)}
BLOCKS = {cls.__name__: cls for cls in (BasicBlockD, BottleneckD)}
LAYERS = {
    name: getattr(nn, name)
    for name in (
        *(
            f"{kind}{axes}d"
            for kind in ("Conv", "InstanceNorm", "BatchNorm", "Dropout")
            for axes in (1, 2, 3)
        ),
        *("Dropout", "LeakyReLU", "ReLU", "PReLU", "ELU", "GELU", "SiLU", "Mish"),
    )
}
_Kinds = Iterable[tuple[re.Pattern[str], Mapping[str, type[nn.Module]]]]

_ARCHITECTURE = re.compile(r"dynamic_network_architectures\.architectures\.[a-z_]+\.(\w+)")
_PART = (
    (re.compile(r"dynamic_network_architectures\.building_blocks\.residual\.(\w+)"), BLOCKS),
    (re.compile(r"torch\.nn\.(?:modules\.[a-z_]+\.)?(\w+)"), LAYERS),
)


def architecture_class(name: object) -> type[nn.Module]:
    """The U-Net of that dotted name; nothing is imported by name.

    Raises:
        ValueError: it is none of dynamic_network_architectures' U-Nets.
    """
    # The module within the package is not compared: it was another one in older versions.
    return _known(name, ((_ARCHITECTURE, ARCHITECTURES),))


def part_class(name: object) -> type[nn.Module]:
    """The layer or block of that dotted name.

    Raises:
        ValueError: it is none of torch's convolutions, norms, activations and dropouts that plans name.
    """
    return _known(name, _PART)


def _known(name: object, kinds: _Kinds) -> type[nn.Module]:
    for pattern, classes in kinds:
        found = pattern.fullmatch(name) if isinstance(name, str) else None
        if found is not None and found[1] in classes:
            return classes[found[1]]
    raise ValueError(f"names the class {name!r}, which is not a known network class")


def resolved_kwargs(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """`arch_kwargs` of planned architecture, with classes in the place of their names.

    Raises:
        ValueError: a name is not that of a known class, or this does not describe a network.
    """
    try:
        kwargs = dict(architecture["arch_kwargs"])
        named = [name for name in architecture["_kw_requires_import"] if kwargs[name] is not None]
    except (KeyError, TypeError) as error:
        raise ValueError(f"describes no network ({reason_of(error, with_type=True)})") from None
    return {**kwargs, **{name: part_class(kwargs[name]) for name in named}}


def planned_network(
    architecture: Mapping[str, Any],
    input_channels: int,
    num_classes: int,
    *,
    width: float | None = None,
    deep_supervision: bool = False,
) -> Any:
    """The network that nnU-Net planned, its features scaled by `width`; its weights are yet to be loaded.

    Args:
        architecture: `network_class_name`, `arch_kwargs` and `_kw_requires_import`, as in plans.json.

    Raises:
        ValueError: it names a class that is not known here.
    """
    network = architecture_class(architecture.get("network_class_name"))
    kwargs = resolved_kwargs(architecture)
    kwargs = kwargs if width is None else scale_features(kwargs, width)
    return network(
        input_channels=input_channels,
        num_classes=num_classes,
        **{**kwargs, "deep_supervision": deep_supervision},
    )


def denoiser_of(
    planned: Callable[[int], nn.Module], image_channels: int, mask_channels: int, image_encoder: bool
) -> DenoisingUNet:
    """The denoiser of planned U-Nets.

    Args:
        planned: number of input channels -> U-Net.
        image_encoder: whether a second encoder sees the image alone.
    """
    unet = planned(image_channels + mask_channels)
    return DenoisingUNet(unet, planned(image_channels).encoder if image_encoder else None)


def scale_features(architecture_kwargs: dict[str, Any], width: float) -> dict[str, Any]:
    """The planned kwargs with every number of features scaled by `width`, at least 4 each."""

    def scaled(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [scaled(v) for v in value]
        return None if value is None else max(4, round(value * width))

    kinds = ("features_per_stage", "stem_channels", "bottleneck_channels")
    return {**architecture_kwargs, **{k: scaled(v) for k, v in architecture_kwargs.items() if k in kinds}}
