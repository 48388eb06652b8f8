"""Commands in the shell blocks of Markdown, with variables filled in as far as the page defines them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("spinesegdiff", "nnUNetv2_predict", "nnUNetv2_train")
_BLOCK = re.compile(r"^ *```bash\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_ASSIGNMENT = re.compile(r"^(?:export )?(\w+)=(\"[^\"]*\"|[^\s\"]+)", re.MULTILINE)
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def commands_of(text: str) -> Iterator[list[str]]:
    """The words of every command line of `PROGRAMS` in the shell blocks of a page, the program first.

    A variable that the page does not define becomes "1".
    """
    values: dict[str, str] = {}
    for block in _BLOCK.findall(text):
        lines = block.replace("\\\n", " ")
        for name, value in _ASSIGNMENT.findall(lines):
            values[name] = _filled(value.strip('"'), values)
        for line in lines.splitlines():
            yield from _commands_in(_filled(line, values))


def inline_code_of(text: str) -> list[str]:
    """Code in the sentences of a page, each with its line breaks removed."""
    return _INLINE.findall(re.sub(r"```.*?```", "", re.sub(r"(?<=\w)\n(?=\w)", " ", text), flags=re.DOTALL))


def pages_below(root: Path) -> list[Path]:
    """All Markdown that states commands to type."""
    folders = (root / "docs", root / "benchmarks")
    return [root / "README.md", *(page for folder in folders for page in sorted(folder.rglob("*.md")))]


def _commands_in(line: str) -> Iterator[list[str]]:
    while found := _SUBSTITUTION.search(line):
        yield from _commands_in(found[1])
        line = line[: found.start()] + "1" + line[found.end() :]
    words: list[str] = []
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";|&()")
    lexer.whitespace_split = True
    for word in [*lexer, ";"]:
        if not set(word) <= set(";|&()"):
            words.append(word)
            continue
        yield from _simple_commands(words)
        words = []


def _simple_commands(words: list[str]) -> Iterator[list[str]]:
    for word in words:  # commands that another one is given as text: sbatch --wrap "..."
        if " " in word and any(f"{program} " in word for program in PROGRAMS):
            yield from _commands_in(word.partition("=")[2] if re.match(r"\w+=", word) else word)
    while words and (words[0] in ("do", "then", "time") or re.match(r"\w+=", words[0])):
        words = words[1:]
    if words[:2] == ["docker", "run"] and "spinesegdiff" in words:
        words = words[words.index("spinesegdiff") :]
    if words and words[0] in PROGRAMS:
        yield words


def _filled(text: str, values: dict[str, str]) -> str:
    return _VARIABLE.sub(lambda match: values.get(match[1], "1"), text)
