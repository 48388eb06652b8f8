"""A downloader for pooch that goes on where an earlier one stopped."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm

from ..errors import UserError
from ..files import save_json
from .connection import ConnectionLost, Remote, Server, lost_connections, patiently
from .disk import is_full

_BLOCK = 1 << 14
"""Bytes that are written at once; as many may be lost where a connection is cut."""


class Part:
    """What is there of a file that is not whole yet, and a note on which file that was.

    Args:
        target: path of the whole file; the part is `<name>.part` beside it, the note `<name>.part.json`.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    def begin(self, remote: Remote) -> None:
        """Forget what is there; all that follows is of this file."""
        self.forget()
        save_json(asdict(remote), self._note)

    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def remote(self) -> Remote:
        """The file that the bytes are of."""
        return Remote(**json.loads(self._note.read_text(encoding="utf-8")))

    def keep_only_of(self, remote: Remote) -> int:
        """Forget the part if it is of another file than `remote`; gives the bytes that are left."""
        try:
            other = self.remote().differs(remote) or self.size() > (remote.size or self.size())
        except (OSError, ValueError, TypeError):
            other = True
        if other:
            self.forget()
        return self.size()

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


class ResumingDownloader:
    """Downloads into a part, and asks for the rest alone where one is there.

    The part outlives everything but a full disk: only the caller knows when it has served, see `Part.forget`.
    A server that sends the whole file instead, or another file than the part is of, makes it begin anew.

    Args:
        server: whom to ask.
        part: of the file, with the bytes of earlier attempts.
    """

    def __init__(self, server: Server, part: Part) -> None:
        self._server, self._part = server, part

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Pooch's hook: `output_file` is the whole file when this returns.

        Raises:
            UserError: the file cannot be had, the connection stays lost, or the disk is full, in which case
                nothing is left of the part.
        """
        try:
            patiently(lambda: self._go_on(url), url, self._server.waits, self._part.size)
            # Both names, so that the bytes survive should the check of the file be interrupted.
            os.unlink(output_file)
            try:
                os.link(self._part.path, output_file)
            except OSError:
                os.replace(self._part.path, output_file)
        except OSError as error:
            if is_full(error):
                self._part.forget()
                raise UserError(
                    f"{self._part.path}: the disk is full, the part was deleted: free some space or choose "
                    "another folder"
                ) from error
            raise UserError(
                f"{self._part.path}: cannot be written ({error.strerror or error}): check the disk"
            ) from error

    def _go_on(self, url: str) -> None:
        have = self._part.size()
        if have and have == self._part.remote().size:
            return
        with self._server.get(url, **self._conditions(have)) as answer:
            now = Remote.of(answer)
            if answer.status_code != 206:
                have = 0
                self._part.begin(now)
            elif self._part.remote().differs(now) or _first_byte(answer) != have:
                self._part.forget()
                raise ConnectionLost("the file is another one than before, beginning anew")
            self._receive(answer, url, have, now.size)

    def _conditions(self, have: int) -> dict[str, str]:
        """Headers that ask for the rest, of the same file."""
        if not have:
            return {}
        known = self._part.remote()
        # A weak tag does not promise the same bytes, and may not be used here.
        same = known.last_modified if known.etag.startswith("W/") else known.etag or known.last_modified
        return {"Range": f"bytes={have}-", **({"If-Range": same} if same else {})}

    def _receive(self, answer: requests.Response, url: str, have: int, size: int | None) -> None:
        name = self._part.path.name.removesuffix(".part")
        with (
            tqdm(desc=name, total=size, initial=have, unit="B", unit_scale=True) as bar,
            self._part.path.open("ab" if have else "wb") as file,
            lost_connections(url),
        ):
            for block in answer.iter_content(_BLOCK):
                file.write(block)
                bar.update(len(block))
        received = self._part.size()
        if size is not None and received < size:
            raise ConnectionLost(f"the connection ended after {received} of {size} bytes")
        if size is not None and received > size:
            self._part.forget()
            raise ConnectionLost(f"{received} bytes came instead of {size}, beginning anew")


def _first_byte(answer: requests.Response) -> int | None:
    first = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdecimal() else None
