"""The step must reach the logits in spite of nnU-Net's instance norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nnunetv2_spinesegdiff.network.time_embedding import TimeEmbedding, TimeModulation

from ..helpers.model_plans import build, image


def conv_block(modulate) -> nn.Module:
    """Modulation, then what follows it in nnU-Net's blocks: convolution, instance norm, nonlinearity."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            # Circular padding has no border, at which zero padding would show even a constant shift.
            self.conv = nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")
            self.norm, self.nonlin = nn.InstanceNorm2d(8, affine=True), nn.LeakyReLU()

        def forward(self, h, embedding):
            return self.nonlin(self.norm(self.conv(modulate(h, embedding))))

    torch.manual_seed(0)
    return Block().eval()


def influence_of_the_step(block: nn.Module, embed: TimeEmbedding) -> float:
    h = image(1, 8, 16, 16)
    with torch.no_grad():
        early, late = (block(h, embed(torch.tensor([t]))) for t in (1, 900))
    return float((early - late).abs().max())


def test_a_shift_alone_dies_in_the_next_norm_and_our_modulation_does_not():
    torch.manual_seed(1)
    embed, modulation = TimeEmbedding(128), TimeModulation(128, 8)

    def shift_alone(h, embedding):
        return h + modulation.to_scale_and_shift(embedding)[:, 8:, None, None]

    assert influence_of_the_step(conv_block(shift_alone), embed) < 1e-4
    assert influence_of_the_step(conv_block(modulation), embed) > 1e-2


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("axes", [2, 3])
def test_logits_depend_on_the_step(axes, residual):
    network = build(axes, residual=residual)
    shape = [16] * (axes - 1) + [24]
    scan, x_t = image(1, 1, *shape), image(1, 4, *shape, seed=1)
    with torch.no_grad():
        features = network.denoiser.encode_image(scan)
        early, late = (network.denoiser(x_t, torch.tensor([t]), scan, features) for t in (1, 30))
    assert (early - late).abs().max() > 0.01 * early.std()
