"""Texts that users read are in plain English: phrases that were hard to understand do not come back.

A phrase is on the list because readers stumbled over it. Markdown is checked, and the strings and docstrings
of the package.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (ROOT / "nnunetv2_spinesegdiff", ROOT / "dataset_conversion")
MARKDOWN = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.md")])
ONES = (
    "structure|case|system|scan|class|chain|step|epoch|iteration|shell|patient|slice|job|process|region|group"
)

INSTEAD = {
    r"\b(is|are|was|were|not|be|place) told\b": "is reported, is shown, is inferred",
    r"\btells?\b": "states, shows, reports",
    r"\b(says|said)\b": "states",
    r"\blies?\b(?! still)": "is located, is",
    r"(?<!there )\b(is|are|was|were) no (?!longer\b|more than\b|such\b)": "is not a, there is no",
    rf"\b((a|an|one) \w+|s|seconds|times|steps|iterations|batches|Dice) an? ({ONES})\b": "one ... per ...",
    r"\bof ours\b|\bour (flags|options|trainers?)\b": "of SpineSegDiff, the SpineSegDiff options",
    r"\b(left out|refused) and named\b": "is skipped and listed",
    r"\brefus(e|es|ed)\b": "reject",
    r"\bvalues that cannot be\b": "invalid values",
    r"\bin the way\b": "already exists",
    r"\blie over\b|\bleans? over\b": "overlap, is sheared",
    r"\banew\b": "again",
    r"\bma[dk]e[- ]up\b": "synthetic",
    r"\bmend(s|ed)?\b": "fix",
    r"\bbeside\b": "next to, in addition to",
    r"\bpassed over\b": "skipped",
    r"\bcost by name\b": "speed/quality preset",
    r"\bis there already\b": "already exists",
    r"\blearnt\b|\bspoilt\b": "learned, damaged",
    r"\b(colour|behaviour|neighbour|labelled|licence|centre|grey|millimetre)": "American spelling",
    r"\b(normalis|optimis(?!t)|initialis|organis|recognis|summaris|visualis)": "American spelling",
}
PATTERNS = {re.compile(pattern, re.IGNORECASE): advice for pattern, advice in INSTEAD.items()}
CODE = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->|\{\{.*?\}\}|\]\([^)]*\)", re.DOTALL)
NAMED = re.compile(r"(?m)^ +[\w*]+(?=: )")
"""Arguments and attributes in a docstring."""
NO_PROSE = re.compile(r"^[\w./:*%{}-]*$")


def findings(text: str) -> list[str]:
    """What a reader would stumble over, with what to write instead."""
    return [
        f"{match[0]!r} in {' '.join(text[max(0, match.start() - 40) : match.end() + 40].split())!r}: {advice}"
        for pattern, advice in PATTERNS.items()
        for match in pattern.finditer(text)
    ]


def strings_of(source: str) -> Iterator[tuple[int, str]]:
    """The strings of a module that are no docstrings, with their lines; f-strings without their values."""
    tree = ast.parse(source)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
            text = "".join(str(v.value) if isinstance(v, ast.Constant) else "X" for v in node.values)
            yield node.lineno, text
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in alone | parts
            and not NO_PROSE.match(node.value)
        ):
            yield node.lineno, node.value


def found_in(package: Path, texts_of: Callable[[str], Iterator[tuple[int, str]]]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {finding}"
        for path in sorted(package.rglob("*.py"))
        for line, text in texts_of(path.read_text(encoding="utf-8"))
        for finding in findings(text)
    ]


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_are_plain(path):
    assert findings(CODE.sub("", path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_messages_are_plain(package):
    assert found_in(package, strings_of) == []


def docstrings_of(source: str) -> Iterator[tuple[int, str]]:
    """The docstrings of a module, its classes, functions and constants, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, NAMED.sub("", CODE.sub("", str(node.value.value)))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_docstrings_are_plain(package):
    assert found_in(package, docstrings_of) == []


@pytest.mark.parametrize(
    "text",
    [
        "where its 30 frames lie is not told",
        "a cost by name",
        "values that cannot be are refused in one line",
        "the directions of its axes are no directions",
        "one row a structure",
        "with any flag of ours",
        "is in the way, and nothing tells that it was made here",
        "a made-up cohort",
        "2 files were passed over",
        "the colour of the outline",
    ],
)
def test_a_planted_phrase_is_found(text):
    assert findings(text)
    source = f"def f(x):\n    return f'{{x}}: {text}'\n"
    assert [finding for _, string in strings_of(source) for finding in findings(string)]
    source = f'def f(x):\n    """Sum up.\n\n    Args:\n        x: {text}\n    """\n'
    assert [finding for _, string in docstrings_of(source) for finding in findings(string)]


def test_code_names_and_plain_sentences_are_not_findings():
    page = (
        "Files are skipped and listed in `passed_over`.\n\n```bash\ntell --beside\n```\n\nThere is no mask."
    )
    assert findings(CODE.sub("", page)) == []
