"""The command `spinesegdiff`: words in, exit status and one-line errors out."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from nnunetv2_spinesegdiff import __version__, cli
from nnunetv2_spinesegdiff.cli import main
from nnunetv2_spinesegdiff.errors import UserError

OPTIONS = """
demo -o -device
demo-train -o -device --seed
phantom -o --patients --seed -np
download -o --only --base_url --keep_zips
convert -i -d --name --contrast --t2_source --partial_vertebrae --max_oblique_deg --splits
convert --slices --dim --seed -np
train -d -c -f -tr -p -device --c --val -pretrained_weights
presegment -d -c -tr -p -np
calibrate -d -c -f -tr -p -chk -device --disable_tta --no_refine -o -np --preset
calibrate --num_samples --t_start --precision
predict -i -o -d -c -f -tr -p -device --refine --no_refine -npp --preset --num_samples --t_start --ddim_steps
predict --fusion_steps --eta --seed --precision --save_uncertainty
uncertainty -i -o --images -np
segment -i -o -m -f -chk -device --slices --series --any_plane --lowest_disc --keep_format --dicom_seg
segment --rtstruct --disable_tta --refine
segment --no_refine --preset --num_parts --part_id
export -o -m -d -c -tr -p -f -chk --license --authors --contact --half --force
models NAME
reproduce --table --description -d -o --num_parts -device --dry_run --job
evaluate -s --reproduced --control -l -o --images --cases --instances --title --transposed
evaluate --metric --against -np
cohort --gradings --overview --splits --pfirrmann -o
pathology -i --gradings --pfirrmann --mixed --systems --fewest -o
figures -i --cases --worst --pair -o
report -i -s --reproduced --control -l --gradings --overview --splits -o --mixed --fewest --gallery --order_by
report --title --whole_paths
doctor -device --json
env eval
"""
TRAIN = ["train", "-d", "501", "-f", "0", "-device", "cpu"]


@pytest.fixture
def no_folders(monkeypatch):
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.delenv(variable, raising=False)


def status_of(*words: str) -> int:
    """The exit status of a command that may end in argparse."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


def test_help_names_every_command_and_option(capsys):
    assert status_of("-h") == 0
    listed = capsys.readouterr().out
    for command, *options in map(str.split, OPTIONS.strip().splitlines()):
        assert command in listed
        assert status_of(command, "-h") == 0
        words = set(re.split(r"[\s,\[\]()|`]+", capsys.readouterr().out))
        assert words.issuperset(options), command
    assert status_of("--version") == 0
    assert capsys.readouterr().out == f"spinesegdiff {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["unknown"],
        ["convert", "-d", "1"],
        ["convert", "-i", "x", "-d", "one"],
        ["convert", "-i", "x", "-d", "1", "--contr", "t1"],
        ["convert", "-i", "x", "-d", "1", "--contrast", "t3"],
        ["phantom", "-o", "x", "--patients", "0"],
        ["phantom", "-o", "x", "--unknown"],
        ["download"],
        ["download", "-o", "x", "--only", "labels"],
        ["env", "--refine"],
        ["reproduce", "-d", "501"],
        ["reproduce", "--table", "3", "-d", "501"],
        ["reproduce", "--table", "1", "--description", "x.yaml", "-d", "501"],
        ["reproduce", "--table", "1", "-d", "501", "--dry_run", "--job", "collect"],
    ],
    ids=" ".join,
)
def test_wrong_words_end_with_status_2(words, capsys):
    assert status_of(*words) == 2
    assert "error:" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["convert", "-i", "nowhere", "-d", "501"],
        ["predict", "-i", "a", "-o", "b", "-d", "1", "--refine"],
        TRAIN,
        ["reproduce", "--table", "1", "-d", "501"],
    ],
    ids=lambda words: words[0],
)
def test_unset_folders_are_one_line_and_status_1(words, no_folders, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert status_of(*words) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: nnUNet_")
    assert "is not set" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [(UserError("x", "is wrong"), 1, "error: x: is wrong\n"), (KeyboardInterrupt(), 130, "interrupted\n")],
)
def test_mistakes_and_interruptions_are_one_line(monkeypatch, capsys, error, status, message):
    def fails():
        raise error

    monkeypatch.setattr(cli.nnunet, "shell_lines", fails)
    assert main(["env"]) == status
    assert capsys.readouterr().err == message
    monkeypatch.setattr(cli.nnunet, "shell_lines", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["env"])


@pytest.fixture
def trained_with(monkeypatch) -> list[str]:
    """The words with which nnU-Net's command is called."""
    from nnunetv2.run import run_training

    words: list[str] = []
    monkeypatch.setattr(cli.nnunet, "check_planned", lambda *args: None)
    monkeypatch.setattr(run_training, "run_training_entry", lambda: words.extend(sys.argv))
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("nnUNet_extTrainer", "")
    return words


def test_training_passes_its_words_on(trained_with):
    assert main([*TRAIN, "--c", "-num_gpus", "2"]) == 0
    expected = "501 2d 0 -tr nnUNetTrainerSpineSegDiff -p nnUNetPlans -device cpu --c -num_gpus 2"
    assert trained_with == ["nnUNetv2_train", *expected.split()]


def test_every_option_of_the_stock_training_arrives(trained_with):
    """Whatever nnU-Net's own parser knows goes through `spinesegdiff train` as it is."""
    source = Path(sys.modules["nnunetv2.run.run_training"].__file__ or "").read_text()
    stock = set(re.findall(r"""add_argument\(\s*['"](-[^'"]+)""", source)) - {"-tr", "-p", "-device"}
    assert {"--c", "--val", "-num_gpus", "-pretrained_weights"} <= stock
    for option in stock:
        value = [] if option.startswith("--") else ["3"]
        trained_with.clear()
        assert main([*TRAIN, option, *value]) == 0
        assert trained_with[trained_with.index(option) :][: 1 + len(value)] == [option, *value]
        assert trained_with[trained_with.index("-p") + 1] == "nnUNetPlans"
