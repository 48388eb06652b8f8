"""Noise that belongs to an image."""

from __future__ import annotations

import torch

from nnunetv2_spinesegdiff.diffusion.noise import CaseNoise, content_seed


def image(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape or (1, 6, 7), generator=torch.Generator().manual_seed(seed))


def test_noise_follows_the_pixels_alone():
    batch = torch.stack([image(1), image(2), image(3)])
    alone = CaseNoise(batch[1:2], 0, range(1)).draw((4, 6, 7))
    assert torch.equal(CaseNoise(batch, 0, range(1)).draw((4, 6, 7))[1:2], alone)
    assert torch.equal(CaseNoise(batch.flip(0), 0, range(1)).draw((4, 6, 7))[1:2], alone)
    assert torch.equal(CaseNoise(batch, 0, range(5)).draw((4, 6, 7))[1:2], alone)
    assert torch.equal(CaseNoise(batch[1:2].double(), 0, range(1)).draw((4, 6, 7)), alone)
    strided = torch.empty(6, 7, 1).permute(2, 0, 1).copy_(batch[1])
    assert content_seed(strided, 0, 0) == content_seed(batch[1], 0, 0)


def test_chain_3_is_chain_3_whichever_chains_run_beside_it():
    batch = torch.stack([image(1), image(2)])
    all_chains = CaseNoise(batch, 0, range(5)).draw((2, 3)).view(5, 2, 2, 3)
    assert torch.equal(CaseNoise(batch, 0, range(3, 5)).draw((2, 3)).view(2, 2, 2, 3), all_chains[3:])


def test_noise_differs_between_images_mirrors_shapes_seeds_and_chains():
    pixels = image(1)
    seeds = [
        content_seed(pixels, 0, 0),
        content_seed(pixels.flip(1), 0, 0),
        content_seed(pixels.flip(2), 0, 0),
        content_seed(pixels.flip(1, 2), 0, 0),
        content_seed(pixels.reshape(1, 7, 6), 0, 0),
        content_seed(pixels, 1, 0),
        content_seed(pixels, 0, 1),
        content_seed(image(2), 0, 0),
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_successive_draws_differ_and_are_standard_normal():
    noise = CaseNoise(torch.stack([image(1), image(2)]), 0, range(2))
    first, second = noise.draw((4, 64, 64)), noise.draw((4, 64, 64))
    assert first.shape == (4, 4, 64, 64)
    flat = torch.cat([first, second]).flatten(1)
    assert torch.corrcoef(flat).fill_diagonal_(0).abs().max() < 0.05
    assert flat.mean().abs() < 0.02
    assert abs(float(flat.std()) - 1) < 0.02
