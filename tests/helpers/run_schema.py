"""The JSON schema of run.json that the documentation publishes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "reference" / "run.schema.json"


def valid_run(path: Path) -> dict[str, Any]:
    """The contents of a run.json; the test fails if it does not follow the schema."""
    jsonschema = pytest.importorskip(
        "jsonschema", reason="jsonschema is not installed: pip install '.[test]'"
    )
    run = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(run, json.loads(SCHEMA.read_text(encoding="utf-8")))
    return run
