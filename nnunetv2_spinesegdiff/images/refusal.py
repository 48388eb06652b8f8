"""Why a scan is not read, before anybody has said which file it was."""

from __future__ import annotations

DAMAGED = "is truncated or damaged: copy or download it again"


class Refusal(Exception):
    """The cause and what to do, in one line without the file's name: whoever knows that puts it in front."""
