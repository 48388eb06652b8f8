"""How many inputs are put side by side, on a card whose memory is made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from nnunetv2_spinesegdiff.network.memory import MOST_ITEMS, items_that_fit

ENCODER: Any = SimpleNamespace(output_channels=(32, 64), strides=((1, 1), (2, 2)))
BYTES_EACH = 4 * (4 * 32 + 32 + 64 // 4) * 100 * 100
IMAGE: Any = SimpleNamespace(shape=(1, 1, 100, 100), device=torch.device("cuda", 0))


class Card:
    """Memory in bytes: not taken by anybody, and held by torch without use."""

    free = 0
    kept = 0

    def cudaMemGetInfo(self, _: int) -> tuple[int, int]:
        return self.free, 10**12


@pytest.fixture
def card(monkeypatch) -> Card:
    card = Card()
    monkeypatch.setattr(torch.cuda, "cudart", lambda: card)
    monkeypatch.setattr(torch.cuda.memory, "_get_device_index", lambda *_, **__: 0)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 10**6 + card.kept)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 10**6)
    return card


@pytest.mark.parametrize(
    ("room", "items"), [(0, 1), (1, 1), (2.5, 2), (7.9, 4), (8.1, 8), (1000, MOST_ITEMS)]
)
@pytest.mark.parametrize("share_kept", [0.0, 0.7, 1.0])
def test_half_of_what_torch_could_have_in_powers_of_two(card, room, items, share_kept):
    total = int(2 * room * BYTES_EACH)
    card.kept = int(total * share_kept)
    card.free = total - card.kept
    assert items_that_fit(ENCODER, IMAGE) == items


def test_compiled_it_looks_anew_at_every_call(card):
    torch._dynamo.reset()

    def fitting(image: Any) -> int:
        return items_that_fit(ENCODER, image)

    compiled: Any = torch.compile(fitting, backend="eager")
    found = []
    for room in (4, 1, 16):
        card.free = int(2.1 * room * BYTES_EACH)
        found.append(compiled(IMAGE))
    torch._dynamo.reset()
    assert found == [4, 1, 16]
