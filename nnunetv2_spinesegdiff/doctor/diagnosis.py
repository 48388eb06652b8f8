"""All checks, one after the other: none stops those behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from . import commands, devices, resources, speed, trainers, variables, versions
from .finding import Finding

Check = Callable[[], Finding | Iterable[Finding]]


def diagnose(device: str | None = None) -> list[Finding]:
    """Look at versions, variables, commands, trainers, memory, disks and devices, and time a network.

    A check that fails itself is a finding. Takes about ten seconds; nothing is written or sent.

    Args:
        device: cpu, cuda or mps to be tried; None for the best that is there.
    """
    findings = [finding for topic, check in _checks() for finding in _run(topic, check)]
    broken = _run(devices.TOPIC, devices.check_torch)
    if broken:
        return [*findings, *broken]
    return findings + [finding for topic, check in _checks_of(device) for finding in _run(topic, check)]


def stops_work(findings: Iterable[Finding]) -> bool:
    return any(finding.level == "problem" for finding in findings)


def _checks() -> list[tuple[str, Check]]:
    """Topic and check of all that needs no torch in this process."""
    return [
        (versions.TOPIC, versions.check_ours),
        (versions.TOPIC, versions.check_python),
        *((versions.TOPIC, partial(versions.check_package, name)) for name in versions.SUPPORTED),
        (versions.TOPIC, partial(versions.check_installed_once, versions.OURS)),
        (versions.TOPIC, partial(versions.check_installed_once, "nnunetv2")),
        (versions.TOPIC, versions.check_leftovers),
        *((variables.TOPIC, partial(variables.check_folder, name)) for name in variables.NEEDED_FOR),
        (variables.TOPIC, variables.check_external_trainers),
        (commands.TOPIC, commands.check_predict_command),
        (trainers.TOPIC, trainers.check_trainers),
        ("memory", resources.check_memory),
        ("disk", resources.check_disks),
    ]


def _checks_of(device: str | None) -> list[tuple[str, Check]]:
    """Topic and check of all that asks torch."""
    return [
        (devices.TOPIC, devices.check_cpu),
        (devices.TOPIC, devices.check_threading),
        (devices.TOPIC, devices.check_cuda),
        (devices.TOPIC, devices.check_mps),
        (speed.TOPIC, partial(_timed, device)),
    ]


def _timed(device: str | None) -> list[Finding]:
    """The speed of a device, or that it is not there."""
    chosen = device or devices.best_device()
    return devices.check_chosen(chosen) or [speed.check_speed(chosen)]


def _run(topic: str, check: Check) -> list[Finding]:
    try:
        found = check()
        return [found] if isinstance(found, Finding) else list(found)
    except Exception as error:
        name = getattr(check, "func", check)
        reason = " ".join(str(error).split())[:200]
        return [
            Finding(
                "warning",
                topic,
                f"{getattr(name, '__name__', topic)} failed itself: {type(error).__name__}: {reason}",
                "report this with the output of spinesegdiff doctor --json",
            )
        ]
