#!/bin/sh
# filelock 4.3.1 falls back to another kind of lock where the file system has no flock (ENOSYS, as on some network
# mounts): the lock is then held by whoever created the lock file. A lock file that merely exists counts as held, so
# an empty file that a program touched before locking, or that a run on another node with flock left behind, shuts
# everyone out. Nothing is raised but Timeout. With flock the same file is locked at once.
#
# Seen: with flock, an existing file: acquired, and the file stays; without flock: no file: acquired; an existing
# file: Timeout.
# The file system is emulated: fcntl.flock raises ENOSYS. The script fails if that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check filelock==4.3.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import errno
import fcntl
import os
import sys
import warnings
from pathlib import Path

from filelock import FileLock, Timeout

warnings.simplefilter("ignore")


def attempt(path):
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return "Timeout"
    lock.release()
    return "acquired"


def refuse(*arguments):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


existing, missing = Path(sys.argv[1], "existing.lock"), Path(sys.argv[1], "missing.lock")
existing.touch()
seen = {"flock, existing file": attempt(existing), "the file stays": existing.exists()}
existing.touch()
fcntl.flock = refuse
seen["no flock, no file"] = attempt(missing)
seen["no flock, existing file"] = attempt(existing)
for case, result in seen.items():
    print(f"{case}: {result}")
expected = {
    "flock, existing file": "acquired",
    "the file stays": True,
    "no flock, no file": "acquired",
    "no flock, existing file": "Timeout",
}
sys.exit(seen != expected)
PYTHON
