"""Run nnU-Net's commands one after another in one process: starting a process costs more than a tiny command.

    python one_process.py "nnUNetv2_train 501 2d 0 -tr A" "nnUNetv2_predict ..."

Every command is looked up as the installed script of that name and runs with the words that it would have.
"""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import entry_points


def main(commands: list[str]) -> None:
    scripts = {script.name: script for script in entry_points(group="console_scripts")}
    for command in commands:
        print(f"$ {command}", flush=True)
        sys.argv = shlex.split(command)
        scripts[sys.argv[0]].load()()


if __name__ == "__main__":  # nnU-Net starts workers that import this file
    main(sys.argv[1:])
