"""The docstrings on the page about Python: complete, with examples that run."""

from __future__ import annotations

import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "python.md"
NAMES = re.findall(r"(?m)^::: (\S+)", PAGE.read_text("utf-8"))
SECTION = re.compile(r"(?m)^(Args|Attributes|Returns|Yields|Raises|Examples):\n((?:(?: .*)?\n?)*)")
SEGMENT = ("SpineSegmenter", "Segmentation", "Failure")
"""Their examples segment scans, which takes seconds."""
NOT_MADE_BY_USERS = (
    "Fusion",
    "Exponential",
    "StepUncertainty",
    "Ensemble",
    "Measure",
    "Scan",
    "ScanLevels",
    "ScanSource",
)


def documented(name: str) -> Any:
    """The object of a dotted name."""
    module, _, last = name.rpartition(".")
    return getattr(import_module(module), last, None) or import_module(name)


def public(owner: Any) -> Iterator[Any]:
    """The object itself; of modules and classes, the public functions and classes defined in them."""
    if not isinstance(owner, ModuleType):
        yield owner
    if not isinstance(owner, ModuleType | type):
        return
    module = owner.__name__ if isinstance(owner, ModuleType) else owner.__module__
    inherited = {name for base in getattr(owner, "__mro__", ())[1:] for name in vars(base)}
    for name, member in vars(owner).items():
        if name[0] != "_" and name not in inherited and getattr(member, "__module__", None) == module:
            if inspect.isclass(member):
                yield from public(member)
            elif inspect.isfunction(member):
                yield member


def missing(member: Callable[..., Any] | type) -> list[str]:
    """Parameters and sections that a docstring leaves out."""
    doc = inspect.getdoc(member) or ""
    signature = inspect.signature(member)
    names = [name for name in signature.parameters if name != "self"]
    wanted = []
    if isinstance(member, type):
        if "__init__" in vars(member):
            doc += "\n\n" + (inspect.getdoc(vars(member)["__init__"]) or "")
        if member.__name__ not in NOT_MADE_BY_USERS:
            wanted.append("Examples")
    else:
        if signature.return_annotation != "None" and names:
            wanted.append("Returns")
        if "." not in member.__qualname__:
            wanted.append("Examples")
    sections = {match[1]: match[2] for match in SECTION.finditer(doc)}
    described = sections.get("Args", "") + sections.get("Attributes", "")
    left_out = [name for name in names if not re.search(rf"(?m)^ +{name}: \S", described)]
    return left_out + [name for name in wanted if name not in sections]


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_are_complete(name):
    members = list(public(documented(name)))
    assert members
    assert {member.__qualname__: left_out for member in members if (left_out := missing(member))} == {}


def test_an_incomplete_docstring_is_found():
    def area(width: float, height: float) -> float:
        """Compute an area.

        Args:
            width: in mm.
        """
        return width * height

    assert missing(area) == ["height", "Returns"]


def segments(name: str) -> bool:
    return name.rpartition(".")[2] in SEGMENT


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if segments(name) else name for name in NAMES],
)
def test_examples_give_what_they_show(name, tmp_path, monkeypatch):

    monkeypatch.chdir(tmp_path)
    found = documented(name)
    module = found if isinstance(found, ModuleType) else import_module(found.__module__)
    printed: list[str] = []
    examples = 0
    for test in doctest.DocTestFinder().find(found, name, module=module):
        examples += len(test.examples)
        doctest.DocTestRunner().run(test, out=printed.append)
    assert not printed, "".join(printed)
    assert examples or name.rpartition(".")[2] in NOT_MADE_BY_USERS
