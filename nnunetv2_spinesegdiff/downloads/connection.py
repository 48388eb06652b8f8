"""Questions to a server, asked again where the connection was to blame."""

from __future__ import annotations

import http.client
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TypeVar

import requests
from tqdm import tqdm

from .. import __version__
from ..errors import UserError

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before an attempt that follows a failed one."""

_TIMEOUT = (15, 60)  # seconds until there is a connection, and between two blocks
_BUSY = (408, 429, 500, 502, 503, 504)
_NO_HEAD = (403, 405, 501)
_LONGEST_WAIT = 60.0
_PASSING = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)

Result = TypeVar("Result")


class ConnectionLost(Exception):
    """An attempt failed, and another one may not.

    Attributes:
        wait: seconds that the server asks to be left alone.
    """

    def __init__(self, cause: str, wait: float = 0.0) -> None:
        super().__init__(cause)
        self.wait = wait


@dataclass(frozen=True)
class Remote:
    """A file on a server, and by what it is known again.

    Attributes:
        size: in bytes; None where the server does not tell.
        etag, last_modified: the headers; empty where there are none.
    """

    size: int | None
    etag: str = ""
    last_modified: str = ""

    @staticmethod
    def of(response: requests.Response) -> Remote:
        """From the answer to a request for a file, or for a part of it."""
        if response.status_code == 206:
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
        else:
            size = response.headers.get("Content-Length", "")
        return Remote(
            int(size) if size.isdecimal() else None,
            response.headers.get("ETag", ""),
            response.headers.get("Last-Modified", ""),
        )

    def differs(self, other: Remote) -> bool:
        """Whether both tell something, and not the same."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return any(None not in pair and "" not in pair and pair[0] != pair[1] for pair in pairs)


class Server:
    """A session that tells nothing but the name of this package, and checks certificates.

    Args:
        waits: see `WAITS`.
    """

    def __init__(self, waits: Sequence[float] = WAITS) -> None:
        self.waits = waits
        self._session = requests.Session()
        # Bytes as they lie on the server: a part of a compressed answer could not be continued.
        self._session.headers.update(
            {"User-Agent": f"spinesegdiff/{__version__}", "Accept-Encoding": "identity"}
        )
        # Without this, requests would send passwords from ~/.netrc.
        self._session.auth = lambda request: request

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self._session.close()

    def get(self, url: str, **headers: str) -> requests.Response:
        """Ask for a file; its content is still to be read, and the answer to be closed.

        Raises:
            UserError: it cannot be had, whoever tries.
            ConnectionLost: another attempt may succeed.
        """
        return self._ask("GET", url, headers, None)

    def describe(self, url: str) -> Remote:
        """Size and identity of a file, without its content.

        Raises:
            UserError: it cannot be had, or there is no connection.
        """

        def attempt() -> Remote:
            answer = self._ask("HEAD", url, {}, _NO_HEAD)
            if answer.status_code in _NO_HEAD:
                answer = self.get(url)
            with answer:
                return Remote.of(answer)

        return patiently(attempt, url, self.waits[:3])

    def end_of(self, url: str, size: int, length: int) -> bytes:
        """The last bytes of a file; nothing where the server gives no parts."""
        first = size - length
        try:
            with self.get(url, Range=f"bytes={first}-") as answer:
                place = answer.headers.get("Content-Range", "")
                whole = answer.status_code == 206 and place.startswith(f"bytes {first}-")
                return answer.content if whole else b""
        except (UserError, ConnectionLost, requests.RequestException):
            return b""

    def _ask(
        self, method: str, url: str, headers: dict[str, str], accepted: Sequence[int] | None
    ) -> requests.Response:
        with lost_connections(url):
            answer = self._session.request(
                method, url, headers=headers, stream=True, timeout=_TIMEOUT, allow_redirects=True
            )
        status = answer.status_code
        if status in (200, 206) or (accepted and status in accepted):
            return answer
        answer.close()
        told = f"the server answered {status} {answer.reason}"
        if status in _BUSY:
            wait = answer.headers.get("Retry-After", "")
            raise ConnectionLost(told, min(float(wait), _LONGEST_WAIT) if wait.isdecimal() else 0.0)
        raise UserError(f"{url}: {told}: check the address")


@contextmanager
def lost_connections(url: str) -> Iterator[None]:
    """Turn what goes wrong on the way into `ConnectionLost`, or into `UserError` where it always will."""
    try:
        yield
    except requests.exceptions.SSLError as error:
        raise UserError(
            f"{url}: no safe connection, its certificate cannot be verified ({_cause(error)}): check the "
            "address and this machine's clock and certificates"
        ) from error
    except _PASSING as error:
        raise ConnectionLost(_cause(error)) from error
    except requests.RequestException as error:
        raise UserError(f"{url}: cannot be asked for ({_cause(error)}): check the address") from error


def patiently(
    attempt: Callable[[], Result],
    url: str,
    waits: Sequence[float],
    progress: Callable[[], int] = lambda: 0,
) -> Result:
    """Try until it works; give up after as many failures as there are waits, and one, without progress.

    Args:
        attempt: raises `ConnectionLost` where another attempt may succeed.
        url: for messages.
        waits: seconds, one for every further attempt.
        progress: a number that an attempt may have raised; a new height starts the counting again.

    Raises:
        UserError: it did not work.
    """
    failures, highest = 0, progress()
    while True:
        try:
            return attempt()
        except ConnectionLost as lost:
            if progress() > highest:
                failures, highest = 0, progress()
            if failures == len(waits):
                raise UserError(
                    f"{url}: cannot be fetched ({lost}): check the network, then run the same command again, "
                    "which goes on where this one stopped"
                ) from lost
            wait = max(waits[failures], lost.wait)
            tqdm.write(f"{url}: {lost}; next attempt in {wait:g} s", file=sys.stderr)
            time.sleep(wait)
            failures += 1


def _cause(error: BaseException) -> str:
    """The innermost reason in one line: requests wraps what was to blame."""
    inner = getattr(error, "reason", None)
    if not isinstance(inner, Exception):
        inner = next((part for part in error.args if isinstance(part, Exception)), None)
    if inner is not None:
        return _cause(inner)
    if isinstance(error, http.client.IncompleteRead):
        return "the connection was cut"
    # urllib3 puts the name of its own object in front.
    text = re.sub(r"^<?[\w.]*HTTPS?Connection.*?: ", "", " ".join(str(error).split()))
    return text or type(error).__name__
