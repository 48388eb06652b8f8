"""Run nnU-Net's own commands one after another in one process, without anything of ours.

    python one_process.py "nnUNetv2_install_pretrained_model_from_zip model.zip" "nnUNetv2_predict ..."

Every command is looked up as the installed script of that name and runs with the words that it would have.
"""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import entry_points


def main(commands: list[str]) -> None:
    for command in commands:
        sys.argv = shlex.split(command)
        (script,) = entry_points(group="console_scripts", name=sys.argv[0])
        script.load()()


if __name__ == "__main__":  # nnU-Net starts workers that import this file
    main(sys.argv[1:])
