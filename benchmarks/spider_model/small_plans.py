"""Write nnU-Net plans with a quarter of the planned features and a batch of four: what a CPU can train.

python benchmarks/spider_model/small_plans.py 601
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunetv2_spinesegdiff.network.planned import scale_features

NAME = "nnUNetPlansQuarter"
WIDTH, BATCH_SIZE = 0.25, 4


def small(plans: dict) -> dict:
    """The 2d plans with fewer features and smaller batches; the preprocessed data stay the same."""
    plan = plans["configurations"]["2d"]
    architecture = plan["architecture"]
    architecture["arch_kwargs"] = scale_features(architecture["arch_kwargs"], WIDTH)
    plan["batch_size"] = BATCH_SIZE
    return {**plans, "plans_name": NAME, "configurations": {"2d": plan}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="id or name of a planned dataset")
    options = parser.parse_args()
    folder = Path(os.environ["nnUNet_preprocessed"]) / maybe_convert_to_dataset_name(options.dataset)
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    target = folder / f"{NAME}.json"
    target.write_text(json.dumps(small(plans), indent=2) + "\n", encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main()
