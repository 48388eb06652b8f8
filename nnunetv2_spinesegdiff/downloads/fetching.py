"""A downloader for pooch that continues partial files and tries again when the connection fails."""

from __future__ import annotations

import errno
import http.client
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests
from tqdm import tqdm

from .. import __version__
from ..errors import UserError
from ..files import load_json, save_json

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds to wait before each further attempt."""
BLOCK = 1 << 14
"""Bytes that are written at once, and lost at most where a connection fails."""

_TIMEOUT = (15, 60)  # seconds: to connect, and between two blocks
_BUSY = (408, 429, 500, 502, 503, 504)
_NO_HEAD = (403, 405, 501)
_LONGEST_WAIT = 60.0
_TEMPORARY = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

Result = TypeVar("Result")


class ConnectionLost(Exception):
    """An attempt failed for a reason that may be gone at the next one.

    Attributes:
        wait: seconds that the server asks to wait.
    """

    def __init__(self, cause: str, wait: float = 0.0) -> None:
        super().__init__(cause)
        self.wait = wait


@dataclass(frozen=True)
class Remote:
    """What identifies a version of a file on a server.

    Attributes:
        size: in bytes; None if the server does not report it.
        etag, last_modified: headers; empty if missing.
    """

    size: int | None
    etag: str = ""
    last_modified: str = ""

    @classmethod
    def from_response(cls, response: requests.Response) -> Remote:
        headers = response.headers
        whole = headers.get("Content-Length", "")
        size = headers.get("Content-Range", "").rpartition("/")[2] if response.status_code == 206 else whole
        etag, last_modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
        return cls(int(size) if size.isdecimal() else None, etag, last_modified)

    def differs(self, other: Remote) -> bool:
        """Return whether both know one of the values, and not the same one."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return any(None not in pair and "" not in pair and pair[0] != pair[1] for pair in pairs)

    @property
    def validator(self) -> str:
        """The value for If-Range; a weak tag does not promise the same bytes."""
        return self.last_modified if self.etag.startswith("W/") else self.etag or self.last_modified


class Server:
    """HTTP requests that send nothing but the name of this package, with attempts after failures.

    Args:
        waits: seconds before each further attempt.
    """

    def __init__(self, waits: Sequence[float] = WAITS) -> None:
        self._waits = waits
        self._session = requests.Session()
        # A part of a compressed answer could not be continued.
        self._session.headers.update(
            {"User-Agent": f"spinesegdiff/{__version__}", "Accept-Encoding": "identity"}
        )
        # Without this, requests would send passwords from ~/.netrc.
        self._session.auth = lambda request: request

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """Request a file, or a part of it; the caller reads the content and closes the response.

        Raises:
            UserError: the server does not have the file, or cannot be trusted.
            ConnectionLost: another attempt may succeed.
        """
        return self._request("GET", url, headers, (200, 206))

    def describe(self, url: str) -> Remote:
        """Request the size and identity of a file.

        Raises:
            UserError: the server does not have the file, or cannot be reached.
        """

        def attempt() -> Remote:
            answer = self._request("HEAD", url, None, (200, *_NO_HEAD))
            with answer if answer.status_code == 200 else self.get(url) as described:
                return Remote.from_response(described)

        return self.retry(attempt, url)

    def last_bytes(self, url: str, size: int, length: int) -> bytes:
        """Request the last bytes of a file; empty if the server does not send parts of files."""
        try:
            with self.get(url, {"Range": f"bytes={size - length}-"}) as answer:
                return answer.content if _first_byte(answer) == size - length else b""
        except (UserError, ConnectionLost, requests.RequestException):
            return b""

    def retry(self, attempt: Callable[[], Result], url: str, progress: Callable[[], int] = int) -> Result:
        """Call `attempt` until it succeeds, or has failed without progress once more than there are waits.

        Args:
            attempt: raises `ConnectionLost` if another attempt may succeed.
            url: for messages.
            progress: returns a number; the count of failures starts again when it has grown.

        Raises:
            UserError: all attempts failed.
        """
        failures, highest = 0, progress()
        while True:
            try:
                return attempt()
            except ConnectionLost as lost:
                if progress() > highest:
                    failures, highest = 0, progress()
                if failures == len(self._waits):
                    raise UserError(
                        url,
                        f"cannot be downloaded ({lost})",
                        "check the network, then run the same command again, which continues this one",
                    ) from lost
                wait = max(self._waits[failures], lost.wait)
                tqdm.write(f"{url}: {lost}; next attempt in {wait:g} s", file=sys.stderr)
                time.sleep(wait)
                failures += 1

    def _request(
        self, method: str, url: str, headers: Mapping[str, str] | None, accepted: Sequence[int]
    ) -> requests.Response:
        with _connection_errors(url):
            answer = self._session.request(method, url, headers=headers, stream=True, timeout=_TIMEOUT)
        if answer.status_code in accepted:
            return answer
        answer.close()
        cause = f"the server answered {answer.status_code} {answer.reason}"
        if answer.status_code in _BUSY:
            wait = answer.headers.get("Retry-After", "")
            raise ConnectionLost(cause, min(float(wait), _LONGEST_WAIT) if wait.isdecimal() else 0.0)
        raise UserError(url, cause, "check the address")


class ResumingDownloader:
    """A downloader for pooch that requests only the missing rest of a partial file.

    The part is `<name>.part`, and `<name>.part.json` states which file it belongs to. Both are kept whatever
    happens, except on a full disk; delete them with `forget`. If the server sends the whole file, or a
    changed one, the download starts again.

    Args:
        server: to download from.
        target: path of the whole file.
    """

    def __init__(self, server: Server, target: Path) -> None:
        self._server = server
        self.part = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")

    def __call__(self, url: str, output_file: str, pooch: Any, check_only: bool = False) -> None:
        """Download `url` to `output_file`, as pooch asks for it.

        Raises:
            UserError: the file cannot be downloaded.
            OSError: it cannot be written. On a full disk the part is deleted.
        """
        try:
            self._server.retry(lambda: self._download_rest(url), url, self.size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.forget()
            raise
        os.unlink(output_file)
        try:
            os.link(self.part, output_file)  # the part outlives an interrupted check of the checksum
        except OSError:
            os.replace(self.part, output_file)

    def size(self) -> int:
        """Return the size of the part in bytes."""
        return self.part.stat().st_size if self.part.is_file() else 0

    def keep_only(self, remote: Remote) -> int:
        """Delete the part if it is not of the file `remote`; return the bytes that are left."""
        try:
            usable = not self._known().differs(remote) and self.size() <= (remote.size or self.size())
        except (OSError, ValueError, TypeError):
            usable = False
        if not usable:
            self.forget()
        return self.size()

    def forget(self) -> None:
        """Delete the part."""
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _known(self) -> Remote:
        return Remote(**load_json(self._note))

    def _download_rest(self, url: str) -> None:
        have, headers = self.size(), {}
        if have:
            known = self._known()
            if have == known.size:
                return
            headers = {"Range": f"bytes={have}-", **({"If-Range": v} if (v := known.validator) else {})}
        with self._server.get(url, headers) as answer:
            remote = Remote.from_response(answer)
            if answer.status_code != 206:
                have = 0
                self.forget()
                save_json(asdict(remote), self._note)
            elif known.differs(remote) or _first_byte(answer) != have:
                self.forget()
                raise ConnectionLost("the file on the server has changed, starting again")
            bar = tqdm(desc=self.part.stem, total=remote.size, initial=have, unit="B", unit_scale=True)
            with bar, self.part.open("ab" if have else "wb") as file, _connection_errors(url):
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    bar.update(len(block))
        received = self.size()
        if remote.size is not None and received != remote.size:
            if received > remote.size:
                self.forget()
            raise ConnectionLost(f"{received} instead of {remote.size} bytes arrived")


@contextmanager
def _connection_errors(url: str) -> Iterator[None]:
    """Turn errors of requests into `ConnectionLost`, or `UserError` if another attempt cannot succeed."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise UserError(
            url,
            f"no safe connection, its certificate cannot be verified ({_cause(error)})",
            "check the address and this machine's clock and certificates",
        ) from error
    except _TEMPORARY as error:
        raise ConnectionLost(_cause(error)) from error
    except requests.RequestException as error:
        raise UserError(url, f"cannot be requested ({_cause(error)})", "check the address") from error


def _first_byte(answer: requests.Response) -> int | None:
    first = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if answer.status_code == 206 and first.isdecimal() else None


def _cause(error: BaseException) -> str:
    """Return the innermost cause, which requests and urllib3 wrap, in one line."""
    causes = [getattr(error, "reason", None), *error.args]
    inner = next((cause for cause in causes if isinstance(cause, Exception)), None)
    if inner is not None:
        return _cause(inner)
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut"
    # urllib3 puts the name of its own object in front.
    text = re.sub(r"^<?[\w.]*HTTPS?Connection.*?: ", "", " ".join(str(error).split()))
    return text or type(error).__name__
