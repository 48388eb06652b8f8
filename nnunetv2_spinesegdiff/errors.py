"""The one exception that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """A mistake of the input or the set-up, told in one line: the file, the cause and what to do.

    The command line prints the message without a traceback and exits with status 1.
    """
