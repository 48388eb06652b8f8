"""Damage to presegmentations: every kind does what it says, and what comes out is a presegmentation again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from nnunetv2_spinesegdiff.training.corruption import (
    AddBlob,
    Damage,
    Dilate,
    DropComponent,
    Empty,
    Erode,
    Shift,
    SwapWithNext,
    corrupt,
    draw_damage,
)


def squares(axes: int = 2) -> Tensor:
    """Two structures of two blocks each, (2, *spatial): sides 5 and 7, apart and away from the border."""
    masks = torch.zeros(2, *[40] * axes)
    for channel, (start, side) in enumerate([(5, 5), (15, 7)]):
        for other in (0, 12):
            box = [slice(start, start + side)] * (axes - 1) + [slice(start + other, start + other + side - 2)]
            masks[channel][tuple(box)] = 1
    return masks


def one_hot(foreground: Tensor) -> Tensor:
    return torch.cat([1 - foreground.amax(0, keepdim=True), foreground])


def components(mask: Tensor) -> int:
    return ndimage.label(mask.numpy())[1]


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("size", [1, 3])
def test_dilation_and_erosion_move_the_border_by_their_size(axes, size):
    masks, where, radius = squares(axes), (0.0,) * axes, (size,) * axes
    cube = np.ones([3] * axes)
    mask = masks[1].numpy() > 0
    grown = Dilate(1, where, radius).apply(masks)
    shrunk = Erode(1, where, radius).apply(masks)
    assert torch.equal(grown[1], torch.from_numpy(ndimage.binary_dilation(mask, cube, size)).float())
    assert torch.equal(
        shrunk[1], torch.from_numpy(ndimage.binary_erosion(mask, cube, size, border_value=1)).float()
    )
    assert torch.equal(grown[0], masks[0])
    assert torch.equal(shrunk[0], masks[0])
    to_the_edge = torch.ones(1, *[10] * axes)
    to_the_edge[0, 5:] = 0
    rows = Erode(0, where, radius).apply(to_the_edge)[0].flatten(1).any(1)
    assert rows.tolist() == [row < 5 - size for row in range(10)]


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("choice", [0.0, 0.49, 0.5, 0.999])
def test_exactly_one_component_is_dropped(axes, choice):
    masks = squares(axes)
    dropped = DropComponent(0, (choice,) * axes, (1,) * axes).apply(masks)
    assert components(masks[0]) == 2
    assert components(dropped[0]) == 1
    first_is_left = bool(dropped[0].movedim(-1, 0)[5:10].any())
    assert first_is_left == (choice >= 0.5)
    assert ((dropped[0] == 1) <= (masks[0] == 1)).all()
    assert torch.equal(dropped[1], masks[1])
    assert torch.equal(DropComponent(0, (choice,) * axes, (1,) * axes).apply(masks * 0), masks * 0)


@pytest.mark.parametrize("axes", [2, 3])
def test_a_blob_is_a_ball_at_its_place(axes):
    masks = torch.zeros(2, *[40] * axes)
    where = (0.5, 0.25, 0.75)[:axes]
    blob = AddBlob(1, where, (6,) * axes).apply(masks)
    inside = torch.nonzero(blob[1])
    centre = torch.tensor(where) * 40
    assert ((inside - centre).norm(dim=1) <= 6).all()
    volume = np.pi * 36 if axes == 2 else 4 / 3 * np.pi * 216
    assert len(inside) == pytest.approx(volume, rel=0.05)
    assert not blob[0].any()


@pytest.mark.parametrize("axes", [2, 3])
def test_a_shift_moves_everything_together(axes):
    masks = squares(axes)
    shifted = Shift(0, (0.999, 0.0, 0.5)[:axes], (4,) * axes).apply(masks)
    offsets = (4, -4, 0)[:axes]
    for channel in range(2):
        moved = np.array(ndimage.center_of_mass(shifted[channel].numpy()))
        still = np.array(ndimage.center_of_mass(masks[channel].numpy()))
        np.testing.assert_allclose(moved - still, offsets, atol=1e-5)
    assert shifted.sum() == masks.sum()


def test_damage_is_as_large_along_thick_slices_as_in_plane():
    rng = np.random.default_rng(0)
    drawn = [d for _ in range(500) for d in draw_damage(rng, 3, (4.0, 1.0, 1.0))]
    assert all(d.size == (round(d.size[1] / 4), d.size[1], d.size[1]) for d in drawn)
    masks = torch.zeros(1, 9, 30, 30)
    masks[0, 4, 12:18, 12:18] = 1
    for kind in (Dilate, Erode, Shift):
        damaged = kind(0, (0.999,) * 3, (0, 2, 2)).apply(masks)
        assert damaged[0].any(dim=(1, 2)).nonzero().flatten().tolist() == [4]
    blob = AddBlob(0, (0.5,) * 3, (1, 4, 4)).apply(torch.zeros_like(masks))
    assert blob[0].any(dim=(1, 2)).sum() == 2
    assert blob[0].any(dim=(0, 2)).sum() == 7  # the centre lies between two slices


def test_swapped_structures_have_each_others_name_and_empty_is_empty():
    masks = squares()
    for channel in (0, 1):
        assert torch.equal(SwapWithNext(channel, (0.0, 0.0), (1, 1)).apply(masks), masks.flip(0))
    assert torch.equal(SwapWithNext(0, (0.0, 0.0), (1, 1)).apply(masks[:1]), masks[:1])
    assert not Empty(0, (0.0, 0.0), (1, 1)).apply(masks).any()


@given(st.integers(0, 2**31), st.integers(2, 3), st.booleans(), st.floats(0.1, 3))
@settings(max_examples=60)
def test_whatever_is_drawn_the_result_is_a_presegmentation(seed, axes, regions, strength):
    rng = np.random.default_rng(seed)
    foreground = squares(axes)[..., :30]
    batch = torch.stack([foreground if regions else one_hot(foreground)] * 2)
    before = batch.clone()
    damaged = corrupt(batch, regions, lambda: draw_damage(rng, 2, [1.0] * axes, strength, 0.1))
    assert torch.equal(batch, before)
    assert damaged.shape == batch.shape
    assert damaged.dtype == batch.dtype
    assert set(damaged.unique().tolist()) <= {0.0, 1.0}
    if not regions:
        assert (damaged.sum(1) == 1).all()


def test_cases_of_a_batch_are_damaged_apart():
    batch = torch.stack([one_hot(squares())] * 3)
    draws: Iterator[list[Damage]] = iter([[], [Empty(0, (0.0, 0.0), (1, 1))], []])
    damaged = corrupt(batch, False, lambda: next(draws))
    assert torch.equal(damaged[[0, 2]], batch[[0, 2]])
    assert not damaged[1, 1:].any()
    assert damaged[1, 0].all()


def test_draws_keep_their_shares_channels_and_sizes():
    rng = np.random.default_rng(0)
    drawn = [draw_damage(rng, 3, (1.0, 1.0), 1.0, 0.25) for _ in range(4000)]
    assert np.mean([not d for d in drawn]) == pytest.approx(0.25, abs=0.03)
    assert {len(d) for d in drawn} == {0, 1, 2, 3}
    every = [damage for d in drawn for damage in d]
    shares = Counter(type(damage) for damage in every)
    assert set(shares) == {Dilate, Erode, DropComponent, AddBlob, Shift, SwapWithNext, Empty}
    assert shares[DropComponent] / len(every) == pytest.approx(0.25, abs=0.03)
    assert {damage.channel for damage in every} == {0, 1, 2}
    assert all(len(damage.where) == 2 and all(0 <= w < 1 for w in damage.where) for damage in every)
    largest = {kind: max(d.size[0] for d in every if type(d) is kind) for kind in shares}
    assert largest[Dilate] == 3
    assert largest[AddBlob] == 12
    doubled = [
        d.size[0] for _ in range(2000) for d in draw_damage(rng, 3, (1.0, 1.0), 2.0) if type(d) is Dilate
    ]
    assert max(doubled) == 6
    assert min(doubled) == 1
    for strength, clean_share in ((0.0, 0.0), (1.0, 1.0)):
        assert not any(draw_damage(rng, 3, (1.0, 1.0), strength, clean_share) for _ in range(200))
