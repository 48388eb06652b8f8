"""Networks that nnU-Net's own trainer builds from plans: the trained ones, made of known classes only."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.network import planned
from nnunetv2_spinesegdiff.network.from_plans import check_architecture, is_described
from nnunetv2_spinesegdiff.network.two_stage import TwoStageNetwork
from nnunetv2_spinesegdiff.training import trainers

from ..helpers.model_plans import build_any, image, small_plans

NAMES = (
    *("nnUNetTrainerSpineSegDiff", "nnUNetTrainerSpineSegDiff_T100_N200_n3_width50"),
    *("nnUNetTrainerSpineSegDiffFromNoise_n2_S2", "nnUNetTrainerSpineSegDiffNoIE_n2_S1"),
    *("nnUNetTrainerDiffUNet_n2_S2", "nnUNetTrainerIISDM_n3_S2_width25"),
)


def described(name: str = NAMES[0], axes: int = 2, residual: bool = False) -> dict[str, Any]:
    """As it comes out of a file."""
    plans = PlansManager(small_plans(axes, residual=residual))
    trainer = getattr(trainers, name)
    return json.loads(json.dumps(trainer.described_network(plans, plans.get_configuration("small"))))


def by_stock(architecture: dict[str, Any], deep_supervision: bool = False) -> Any:
    """The network that nnU-Net's own trainer builds, one image channel, four heads."""
    plans = small_plans()
    plans["configurations"]["small"]["architecture"] = architecture
    manager = PlansManager(plans)
    arguments = (manager, manager.get_configuration("small"), 1, 4, deep_supervision)
    return nnUNetTrainer.build_network_architecture(*arguments).eval()


@pytest.mark.parametrize(("axes", "residual"), [(2, False), (2, True), (3, False), (3, True)])
@pytest.mark.parametrize("name", NAMES)
def test_nnunets_own_trainer_builds_the_trained_network(name, axes, residual):
    trained = build_any(axes, residual=residual, trainer=getattr(trainers, name), seed=1)
    network = by_stock(described(name, axes, residual))
    assert isinstance(network, type(trained))
    assert list(network.state_dict()) == list(trained.state_dict())
    network.load_state_dict(trained.state_dict(), strict=True)
    assert network.sampler == trained.sampler
    scan = image(1, 1, *(17, 18, 25)[-axes:])
    with torch.inference_mode():
        assert torch.equal(network(scan), trained(scan))


@pytest.mark.parametrize("name", [NAMES[0], NAMES[2]])
def test_deep_supervision_is_as_nnunet_asks_for(name):
    for asked in (True, False):
        network, trained = (
            by_stock(described(name), asked),
            build_any(deep_supervision=asked, trainer=getattr(trainers, name)),
        )
        assert network.decoder.deep_supervision is asked
        if isinstance(trained, TwoStageNetwork):
            assert trained.decoder.deep_supervision is asked


def test_a_network_of_another_class_is_not_described():
    class Other(TwoStageNetwork):
        pass

    class Trainer(trainers.nnUNetTrainerSpineSegDiff):
        network_class = Other

    plans = PlansManager(small_plans())
    with pytest.raises(UserError, match="Trainer: its network is a Other"):
        Trainer.described_network(plans, plans.get_configuration("small"))


# --- known classes ---------------------------------------------------------------------------------------


OTHERS = [
    *("os.system", "builtins.eval", "subprocess.Popen", "torch.load", "torch.hub.load", "", None, 3, ["x"]),
    *("torch.nn.os.system", "torch.nn.Module", "torch.nn.modules.conv.torch.load", "torch.nn.LeakyReLU.x"),
    *(
        "dynamic_network_architectures.architectures.unet.torch",
        "xtorch.nn.LeakyReLU",
        "torch.nn.LeakyReLU\n",
    ),
    *("dynamic_network_architectures.architectures.primus.Primus", "antigravity.PlainConvUNet"),
    *("nnunetv2_spinesegdiff.network.two_stage.TwoStageNetwork", "torch.nn..LeakyReLU", "torchXnn.LeakyReLU"),
]


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("residual", [False, True])
def test_what_nnunet_plans_is_known(axes, residual):
    architecture = small_plans(axes, residual=residual)["configurations"]["small"]["architecture"]
    check_architecture(architecture)
    assert not is_described(architecture)
    check_architecture(described(axes=axes, residual=residual))
    assert is_described(described(axes=axes, residual=residual))
    for name in ("unet.PlainConvUNet", "residual_unet.ResidualEncoderUNet", "unet.ResidualUNet"):
        found = planned.architecture_class(f"dynamic_network_architectures.architectures.{name}")
        assert found.__name__ == name.split(".")[-1]
    for layer in (f"modules.conv.Conv{axes}d", f"BatchNorm{axes}d", "modules.activation.GELU"):
        assert planned.part_class(f"torch.nn.{layer}") is getattr(torch.nn, layer.split(".")[-1])


def test_nothing_is_imported_by_the_names_that_are_refused(tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    (tmp_path / "leaves_a_trace.py").write_text(f"open({str(trace)!r}, 'w')\nPlainConvUNet = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    architecture = described()
    architecture["arch_kwargs"]["planned"]["arch_kwargs"]["nonlin"] = "leaves_a_trace.PlainConvUNet"
    for use in (check_architecture, by_stock):
        with pytest.raises(ValueError, match="leaves_a_trace"):
            use(architecture)
    assert not trace.exists()


@pytest.mark.parametrize("name", OTHERS, ids=repr)
def test_other_names_are_refused_wherever_they_stand(name):
    ours, plain = described(), small_plans()["configurations"]["small"]["architecture"]
    for architecture in (ours, plain):
        inner = architecture["arch_kwargs"].get("planned", architecture)
        with pytest.raises(ValueError, match="which is not a known network class"):
            check_architecture(_with(architecture, inner, "network_class_name", name))
        for key in ("conv_op", "norm_op", "nonlin", "dropout_op"):
            if name is not None:  # no layer
                with pytest.raises(ValueError, match="which is not a known network class"):
                    check_architecture(_with(architecture, inner["arch_kwargs"], key, name))


def _with(whole: dict[str, Any], part: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of `whole` in which one part of it has another value."""
    before, part[key] = part[key], value
    changed = copy.deepcopy(whole)
    part[key] = before
    return changed


def test_what_describes_no_network_is_refused():
    refused: tuple[Any, ...] = ({}, None, "x")
    for nested in refused:
        for architecture in (nested, {**described(), "arch_kwargs": {"planned": nested}}):
            with pytest.raises(ValueError, match=r"describes no|not a known network class"):
                check_architecture(architecture)
    with pytest.raises(ValueError, match="no network of SpineSegDiff"):
        check_architecture({**described(), "_kw_requires_import": ["width"]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("width", -1), ("width", "1"), ("image_encoder", "yes"), ("planned", described()), ("more", 1)],
        *[("sampler", {"t_start": 0}), ("sampler", {"unknown": 1}), ("sampler", {"t_start": "1"})],
    ],
)
def test_ours_is_described_by_possible_values(key, value):
    architecture = described()
    architecture["arch_kwargs"][key] = value
    with pytest.raises(ValueError, match=r"describes no|not a known network class|outside|number"):
        check_architecture(architecture)
