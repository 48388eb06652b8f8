"""Commands in README, docs and benchmarks are accepted by the parsers of the programs."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff import cli
from nnunetv2_spinesegdiff.inference.command import flags_parser

from .shell_blocks import commands_of, inline_code_of, pages_below

ROOT = Path(__file__).resolve().parents[2]
PAGES = pages_below(ROOT)
COMMANDS = sorted(
    {
        (page.relative_to(ROOT).as_posix(), *words)
        for page in PAGES
        for words in commands_of(page.read_text("utf-8"))
    }
)
DOCUMENTATION = [page for page in PAGES if "benchmarks" not in page.parts]
OTHER_OPTIONS = {"--gpus"}
"""Of docker."""


class Accepted(Exception):
    """The program's own parser accepted the words."""


def check(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the parser of a program read words; SystemExit if it rejects them."""
    program, *rest = words
    if program == "spinesegdiff":
        options, unknown = cli.build_parser().parse_known_args(rest)
        if unknown and not getattr(options, "passes_on", False):
            pytest.fail(f"unrecognized arguments: {unknown}")
        if rest[0] != "predict":
            return
        rest = unknown
    if program == "nnUNetv2_train":
        from nnunetv2.run.run_training import run_training_entry as entry
    else:
        from nnunetv2.inference.predict_from_raw_data import predict_entry_point as entry

        _, rest = flags_parser().parse_known_args(rest)
    parse = argparse.ArgumentParser.parse_args

    def accept(parser: argparse.ArgumentParser) -> None:
        parse(parser)
        raise Accepted

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", accept)
    monkeypatch.setattr(sys, "argv", [program, *rest])
    with pytest.raises(Accepted):
        entry()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:100])
def test_a_command_is_accepted(command, monkeypatch, capsys):
    try:
        check(list(command[1:]), monkeypatch)
    except SystemExit:
        pytest.fail(f"{command[0]}: {' '.join(command[1:])}\n{capsys.readouterr().err}")


def test_commands_are_found_on_most_pages():
    pages = {page for page, *_ in COMMANDS}
    assert {"README.md", "docs/how-to/segment.md", "benchmarks/spider_model/README.md"} <= pages
    assert len(COMMANDS) > 50


@pytest.mark.parametrize(
    "text",
    [
        "```bash\nspinesegdiff segment -i scan\n```",
        "```bash\nfor f in 0 1; do spinesegdiff train -d 1 -f $f -c; done\n```",
        '```bash\nsbatch --wrap "spinesegdiff segment -i a -o b --part 1"\n```',
        "```bash\nnnUNetv2_predict -i a -o b -d 1 -c 2d \\\n    --preset slow\n```",
        '```bash\nMODEL="-d 1 -x 2"\nspinesegdiff calibrate $MODEL\n```',
    ],
)
def test_a_planted_mistake_is_found(text, monkeypatch, capsys):
    (words,) = commands_of(text)
    with pytest.raises((SystemExit, pytest.fail.Exception)):
        check(words, monkeypatch)


@pytest.fixture(scope="module")
def known_options() -> dict[str, set[str]]:
    """Options by subcommand; under "nnUNetv2_predict" those of the stock command, too."""
    subparsers = next(a for a in cli.build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    known = {name: set(parser._option_string_actions) for name, parser in subparsers.choices.items()}
    stock: set[str] = set()
    for module in (
        "inference/predict_from_raw_data",
        "run/run_training",
        "experiment_planning/plan_and_preprocess_entrypoints",
    ):
        import nnunetv2

        source = Path(nnunetv2.__path__[0], f"{module}.py").read_text("utf-8")
        stock |= set(re.findall(r"""['"](-[\w-]+)['"]""", source))
    return {**known, "nnUNetv2_predict": stock | set(flags_parser()._option_string_actions)}


@pytest.mark.parametrize("page", DOCUMENTATION, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_options_and_commands_in_sentences_exist(page, known_options):
    every = set().union(*known_options.values()) | OTHER_OPTIONS
    for code in inline_code_of(page.read_text("utf-8")):
        program, *words = code.split()
        if program == "spinesegdiff" and words and words[0] != "COMMAND":
            assert words[0] in known_options, code
            options = {word for word in words if word.startswith("-")}
            if words[0] not in ("train", "predict"):
                assert options <= known_options[words[0]], code
        elif re.fullmatch(r"--[a-z]\w*", program):
            assert program in every, code
