"""The documentation is built without a warning, and its pages ask for nothing from a network."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("mkdocs", "material", "mkdocstrings_handlers.python")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for module in NEEDED:
        pytest.importorskip(module, reason=f"{module} is not installed: pip install '.[docs]'")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_pages_load_nothing_from_elsewhere(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        html = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(https?://[^\"\s>]+)", html)
        assert loaded == [], page.name
        assert "{{ " not in html, page.name


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("segment", "how-to/segment.html"),
        ("ignore label", "how-to/train.html"),
        ("uncertainty", "how-to/uncertainty.html"),
        ("ddim_steps", "how-to/predict.html"),
        ("conformal", "how-to/uncertainty.html"),
    ],
)
def test_what_users_search_for_is_indexed(site, words, page):
    entries = json.loads((site / "search" / "search_index.json").read_text("utf-8"))["docs"]
    found = [entry for entry in entries if words in (entry["title"] + entry["text"]).lower()]
    assert page in {entry["location"].partition("#")[0] for entry in found}


def test_every_command_and_option_is_on_its_page(site):
    from nnunetv2_spinesegdiff import cli

    html = (site / "reference" / "commands.html").read_text("utf-8")
    for add in cli.COMMANDS:
        name = add.__name__.removeprefix("add_").replace("_", "-")
        assert f'id="{name}"' in html
    for option in ("--stage1_weight W", "--num_parts N", "--save_uncertainty"):
        assert f">{option}</code>" in html
    for text in (
        "Dataset&lt;ID&gt;_&lt;name&gt;",
        ">--pair FIRST SECOND</code>",
        "splits_final.json with",
    ):
        assert text in html
