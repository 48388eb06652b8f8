"""Run nnU-Net's commands one after another in one process: starting a process costs more than a tiny command.

    python one_process.py "nnUNetv2_train 501 2d 0 -tr A" "nnUNet_results=/elsewhere nnUNetv2_predict ..."

Every command is looked up as the installed script of that name and runs with the words that it would have.
Variables stay set for the commands that follow; nnU-Net reads its folders' anew at every use.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from importlib.metadata import entry_points


def main(commands: list[str]) -> None:
    scripts = {script.name: script for script in entry_points(group="console_scripts")}
    for command in commands:
        print(f"$ {command}", flush=True)
        words = shlex.split(command)
        while "=" in words[0]:
            name, _, os.environ[name] = words.pop(0).partition("=")
        if words[0] == "cp":
            shutil.copy(*words[1:])
            continue
        sys.argv = words
        scripts[words[0]].load()()


if __name__ == "__main__":  # nnU-Net starts workers that import this file
    main(sys.argv[1:])
