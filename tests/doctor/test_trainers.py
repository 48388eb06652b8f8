"""What nnU-Net finds, asked in a process of its own."""

from __future__ import annotations

import pytest

from nnunetv2_spinesegdiff.doctor import trainers
from nnunetv2_spinesegdiff.doctor.trainers import check_trainers
from nnunetv2_spinesegdiff.environment import TRAINERS


def test_not_now_but_after_env(monkeypatch, capfd):
    """nnU-Net really asked; it prints where it looks, and none of that is seen."""
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    finding = check_trainers(seconds=600)
    assert finding.level == "warning"
    assert "but does after" in finding.seen
    assert capfd.readouterr() == ("", "")


def answers(monkeypatch, now: str, after: str) -> None:
    monkeypatch.setattr(trainers, "_answers", lambda seconds: (now, after))


def test_found(monkeypatch):
    answers(monkeypatch, "", "")
    assert check_trainers().level == "ok"


@pytest.mark.parametrize("now", ["", "UserError: not found"])
def test_not_even_after_env(now, monkeypatch):
    answers(monkeypatch, now, "ImportError: no torch")
    finding = check_trainers()
    assert finding.level == "problem"
    assert finding.seen.endswith("ImportError: no torch")


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("raise SystemExit(7)", "exit status 7"),
        ("import sys; print('a', file=sys.stderr); raise ValueError('broken')", "ValueError: broken"),
    ],
)
def test_a_process_that_fails_is_a_problem(code, says, monkeypatch):
    monkeypatch.setattr(trainers, "ASK", code)
    finding = check_trainers()
    assert finding.level == "problem"
    assert finding.seen.endswith(says)


def test_a_process_that_does_not_end_is_ended(monkeypatch):
    """On a busy machine that says nothing of the set-up."""
    monkeypatch.setattr(trainers, "ASK", "import time; time.sleep(600)")
    finding = check_trainers(seconds=0.5)
    assert finding.level == "warning"
    assert "did not tell within 0.5 s" in finding.seen


def test_what_is_printed_by_others_is_no_answer(monkeypatch):
    monkeypatch.setattr(trainers, "ASK", "print('hello'); print('[\"\", \"\"]')")
    assert check_trainers().level == "ok"


def test_now_is_the_environment_as_it_is(monkeypatch):
    """The question alone, with a check that answers by the variable."""
    short = trainers.ASK.replace(
        "from nnunetv2_spinesegdiff.preflight import check_trainer",
        "import os\n"
        "def check_trainer(name):\n"
        f"    assert {str(TRAINERS)!r} in os.environ.get('nnUNet_extTrainer', ''), name",
    )
    assert short != trainers.ASK
    monkeypatch.setattr(trainers, "ASK", short)
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    assert trainers._answers(60) == (f"AssertionError: {trainers.TRAINER}", "")
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    assert trainers._answers(60) == ("", "")
