"""Which systems make an ablation of depths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import nnunetv2_spinesegdiff
from nnunetv2_spinesegdiff.evaluation.report.depths import depths_of
from nnunetv2_spinesegdiff.evaluation.report.evaluation_folder import System


def sampled(name: str, depth: int, control: bool = False, **sampler: Any) -> System:
    return System(name, control=control, settings={"refine": True, "sampler": {"t_start": depth, **sampler}})


STAGE1 = System("stage 1", settings={"refine": False, "sampler": None})


@pytest.mark.parametrize(
    ("systems", "expected"),
    [
        ([System("T = 100"), System("T = 0"), System("T=30")], {0: "T = 0", 30: "T=30", 100: "T = 100"}),
        ([sampled("a", 100), sampled("b", 30), STAGE1], {0: "stage 1", 30: "b", 100: "a"}),
        ([sampled("T = 30", 7), System("T = 0"), sampled("else", 100)], {0: "T = 0", 30: "T = 30"}),
        ([sampled("a", 100), sampled("b", 30), sampled("c", 30, control=True)], {30: "b", 100: "a"}),
        ([sampled("a", 100), sampled("b", 30), sampled("n", 1000, start="noise")], {30: "b", 100: "a"}),
        ([], "no two systems"),
        ([STAGE1, sampled("refined", 30)], "no two systems"),
        ([sampled("fast", 30), sampled("paper", 30)], "no two systems"),
        ([System("nnU-Net"), sampled("from noise", 1000, start="noise")], "no two systems"),
        ([System("T = 30"), System("EXT = 100")], "no two systems"),
        ([sampled("a", 100), sampled("b", 30), sampled("c", 30)], "b and c"),
    ],
)
def test_names_count_first_and_settings_otherwise(systems, expected):
    found = depths_of(systems)
    if isinstance(expected, str):
        assert isinstance(found, str)
        assert expected in found
    else:
        assert isinstance(found, dict)
        assert list(found) == sorted(found)
        assert {depth: system.name for depth, system in found.items()} == expected


def test_the_systems_of_table_2_are_an_ablation():
    table2 = Path(nnunetv2_spinesegdiff.__file__).parent / "experiments" / "table2.yaml"
    names = [system["name"] for system in yaml.safe_load(table2.read_text())["systems"]]
    assert list(depths_of([System(name) for name in names])) == [0, 30, 100, 300, 500, 1000]
    assert names[6:] == [f"N = {length}" for length in (30, 100, 300, 500)]  # not drawn by depth
