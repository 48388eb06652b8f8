"""Bundled models: their names, what is read of them, and what happens where they are not installed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.errors import UserError
from nnunetv2_spinesegdiff.sharing import bundled
from nnunetv2_spinesegdiff.sharing.bundled import (
    DEFAULT,
    bundled_model,
    bundled_models,
    model_path,
    provenance,
)
from nnunetv2_spinesegdiff.sharing.export import export_model
from nnunetv2_spinesegdiff.sharing.opening import open_model

from ..helpers.model_zips import Contents, Zip

SPIDER = {"reference": "SPIDER, doi 1", "licence": "CC BY 4.0"}


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """The folder of the bundled models, still empty; the working folder is another one."""
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(bundled, "FOLDER", tmp_path / "models")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "models"


@pytest.fixture
def default(models, make_model) -> Path:
    """The default model, installed."""
    details = {"license": "MIT"}
    return export_model(make_model(**SPIDER).folder, models / f"{DEFAULT}.zip", details=details)


@pytest.fixture
def other(models, exported_once) -> Path:
    """Another bundled model, of which no license is known."""
    return Path(shutil.copy(exported_once, models / "another.zip"))


def test_a_bundled_model_describes_itself(default, tmp_path):
    (model,) = bundled_models()
    assert (model.name, model.path) == (DEFAULT, default)
    assert model.structures == ["spinal_canal", "vertebrae", "ivd"]
    assert model.license == "MIT"
    assert model.training_data == "SPIDER, doi 1 (CC BY 4.0)"
    assert model.card.encode() == Zip(default).read()["MODEL_CARD.md"]
    assert model.manifest.sha256 == open_model(default, tmp_path).sha256


def test_the_command_lists_models_and_prints_a_card(default, other, capsys):
    assert main(["models"]) == 0
    head, *rows = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in rows] == ["another", DEFAULT]
    for row, model in zip(rows, bundled_models(), strict=True):
        assert row[head.index("license") :].startswith(model.license)
        assert row[head.index("training data") :].startswith(model.training_data)
        assert row[head.index("SHA-256") :] == model.manifest.sha256[:12]
    assert main(["models", DEFAULT]) == 0
    assert capsys.readouterr().out == bundled_model(DEFAULT).card


def test_a_name_is_the_bundled_model_and_a_path_is_a_path(default, other, tmp_path):
    for name in (DEFAULT, "another", "own"):
        Path(name).mkdir()
    assert model_path() == default
    assert model_path(DEFAULT) == default
    assert model_path("another") == other
    assert model_path("own") == Path("own")
    for given in (f"./{DEFAULT}", f"{DEFAULT}/", f"{DEFAULT}.zip", f"{DEFAULT}.ZIP", str(tmp_path / DEFAULT)):
        path = model_path(given)
        assert path == Path(given)
        assert path != default
    assert model_path(Path(DEFAULT)) == Path(DEFAULT)


def test_where_none_is_installed_the_advice_is_to_install_or_give_one(models, capsys):
    Path(DEFAULT).mkdir()  # is not taken for the model that is missing
    for words in (["models"], ["models", DEFAULT], ["segment", "-i", "a", "-o", "b", "-device", "cpu"]):
        assert main(words) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {models / DEFAULT}.zip: ")
        assert "give the path of a model" in line
    assert not Path("b").exists()


def test_a_damaged_description_is_refused(default, models):
    def change(contents: Contents) -> None:
        contents["MODEL_CARD.md"] = contents["MODEL_CARD.md"].replace(b"MIT", b"BSD")

    Zip(default).changed(change, listed=False).path.replace(default)
    with pytest.raises(UserError, match=rf"^{default}: .*MODEL_CARD"):
        bundled_models()


def test_the_origin_of_a_model_is_recorded(default, other, tmp_path, monkeypatch):
    expected = {"bundled": True, "license": "MIT", "training_data": "SPIDER, doi 1 (CC BY 4.0)"}
    assert provenance(default) == expected
    monkeypatch.chdir(default.parent)
    assert provenance(Path(default.name)) == expected
    assert provenance(other)["license"] == "not stated"
    assert provenance(Path(shutil.copy(default, tmp_path / "copy.zip"))) == {"bundled": False}
