"""Group norms in place of instance norms give the same logits, from the same weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from nnunetv2_spinesegdiff.inference.loading import use_group_norms

from ..helpers.model_plans import build, image

SCAN = image(1, 1, 20, 27)


def test_a_network_with_group_norms_gives_the_same_logits():
    network = build()
    changed = copy.deepcopy(network)
    use_group_norms(changed)
    assert not any(isinstance(part, nn.InstanceNorm2d) for part in changed.modules())
    with torch.inference_mode():
        logits = network.presegment(SCAN), changed.presegment(SCAN)
        refined = network.refine(SCAN).logits, changed.refine(SCAN).logits
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(*refined, rtol=1e-4, atol=1e-4)


def test_weights_of_another_fold_can_be_loaded():
    first, second = build(), build()
    with torch.no_grad():
        for weight in second.parameters():
            weight.add_(0.01)
    use_group_norms(first)
    first.load_state_dict(second.state_dict())
    torch.testing.assert_close(first.presegment(SCAN), second.presegment(SCAN), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("kind", "shape"), [(nn.InstanceNorm2d, (9, 5)), (nn.InstanceNorm3d, (3, 4, 5))])
def test_every_instance_norm_without_running_statistics_is_replaced(kind, shape, affine):
    network = nn.Sequential(kind(3, affine=affine, eps=0.1), kind(3, track_running_stats=True)).eval()
    x = 50 + 3 * torch.randn(2, 3, *shape)
    expected = network(x)
    use_group_norms(network)
    assert [type(part) for part in network] == [nn.GroupNorm, kind]
    torch.testing.assert_close(network(x), expected)
