from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def hooks() -> ModuleType:
    """docs/hooks.py, which is in no package."""
    loader = SourceFileLoader("docs_hooks", str(ROOT / "docs" / "hooks.py"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    # Dataclasses look for their module by its name.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, loader.name, module)
        loader.exec_module(module)
    return module
