"""The depth T to which the systems of an evaluation noise their presegmentations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .evaluation_folder import System

NAMED = re.compile(r"\bT\s*=\s*(\d+)\b")


def depths_of(systems: Sequence[System]) -> dict[int, System] | str:
    """Map depth to system, from the shallowest to the deepest, or explain why depths cannot be compared.

    Names count first: "T = 30", as in the paper's table 2; T = 0 is stage 1 alone. If fewer than two systems
    have such names, the settings of their predictions count, without controls. A chain that begins with noise
    has no depth.

    Args:
        systems: trained on the same data.
    """
    named = [(int(match[1]), system) for system in systems if (match := NAMED.search(system.name))]
    predicted = [
        (depth, system)
        for system in systems
        if not system.control and (depth := _from_settings(system.settings)) is not None
    ]
    found = named if len(named) > 1 else predicted
    depths = [depth for depth, _ in found]
    # Stage 1 and one refiner are a pair; only names make an ablation of them.
    if len(set(depths) if named is found else set(depths) - {0}) < 2:
        return 'no two systems of different depth; name them "T = 30", "T = 100", or predict with --t_start'
    if twice := sorted({depth for depth in depths if depths.count(depth) > 1}):
        same = " and ".join(system.label for depth, system in found if depth == twice[0])
        return f'{same} have the same depth T = {twice[0]}; name those to be drawn "T = {twice[0]}"'
    return dict(sorted(found, key=lambda pair: pair[0]))


def _from_settings(settings: Mapping | None) -> int | None:
    """As in `spinesegdiff_args.json`; None if it does not state a depth."""
    if settings is None:
        return None
    if settings.get("refine") is False:
        return 0
    sampler = settings.get("sampler") or {}
    if sampler.get("start", "presegmentation") != "presegmentation":
        return None
    depth = sampler.get("t_start")
    return None if depth is None else int(depth)
