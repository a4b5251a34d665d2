"""Posts a ranking to a server: with a time-out, repeated where the server is at fault, errors in one line."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from imagematch.errors import ConfigError, StudyError
from imagematch.events import SILENT, RunLog

SUBMIT_TIMEOUT_S = 30.0
ATTEMPTS = 4
PAUSE_S = 1.0

_ANSWER_BYTES = 4096

_T = TypeVar("_T")


def check_url(url: str) -> str:
    """`url` as it is sent, in ASCII, if a ranking can be posted to it. Raises ConfigError otherwise."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        host = (parts.hostname or "").encode("idna").decode("ascii")
    except ValueError:  # UnicodeError is one: a host with an empty or too long part
        usable = False
    if not usable or any(c.isspace() or not c.isprintable() for c in url):
        raise ConfigError("is not an http or https address", where=f"--submit {_shown(url)}")
    if "@" in parts.netloc:
        raise ConfigError("a name or password in an address is not sent", where=f"--submit {_shown(url)}")
    host = f"[{host}]" if ":" in host else host
    place = host if parts.port is None else f"{host}:{parts.port}"
    path, query = (urllib.parse.quote(part, safe="%/:@!$&'()*+,;=?~") for part in (parts.path, parts.query))
    return urllib.parse.urlunsplit((parts.scheme, place, path, query, ""))


def submit(
    url: str,
    ranking: Mapping[str, Sequence[str]],
    *,
    timeout_s: float = SUBMIT_TIMEOUT_S,
    attempts: int = ATTEMPTS,
    pause_s: float = PAUSE_S,
    log: RunLog = SILENT,
) -> str:
    """Posts a ranking as JSON and gives the beginning of the server's answer.

    A server that cannot be reached, breaks off, is silent for `timeout_s` or answers 5xx or 429 is tried again, after
    a pause that doubles each time. Other answers are final; redirections are not followed, since they lose what is
    posted.

    Args:
        url: http or https.
        ranking: query path -> gallery paths, the nearest first.
        timeout_s: how long the server may be silent, seconds; three times that at most for all of an attempt.
        attempts: how often it is tried.
        pause_s: the first pause, seconds.
        log: hears of failed attempts.

    Raises:
        ConfigError: the address is not one.
        StudyError: it was not taken.
    """
    request = urllib.request.Request(
        check_url(url),
        data=json.dumps(ranking).encode(),
        headers={"Content-Type": "application/json", "User-Agent": "imagematch"},
        method="POST",
    )
    reason = ""
    for attempt in range(1, attempts + 1):
        try:
            status, text = _within(3 * timeout_s, lambda: _post(request, timeout_s))
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a proxy that is no address
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            silent = isinstance(cause, TimeoutError)
            reason = f"no answer within {timeout_s:g} s" if silent else f"cannot be reached: {_text(cause)}"
        else:
            if status < 300:
                return text
            reason = f"answers {status} {http.client.responses.get(status, '')}".rstrip() + _begin(text)
            if status < 500 and status != 429:
                raise _not_taken(url, reason, "check the address and what the server expects")
        if attempt < attempts:
            pause = pause_s * 2 ** (attempt - 1)
            log.say(f"{_shown(url)}: {reason}; again in {pause:g} s ({attempt} of {attempts} attempts)")
            time.sleep(pause)
    raise _not_taken(url, f"{reason} ({attempts} attempts)", "try again later: the output file is written")


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_options: Any) -> None:
        return None


def _within(seconds: float, work: Callable[[], _T]) -> _T:
    """The result of `work`, run in a thread that is abandoned at the time-out: a server may drip bytes for ever.

    Raises:
        TimeoutError: it took longer.
    """
    done: queue.SimpleQueue[tuple[_T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return cast(_T, result)


def _post(request: urllib.request.Request, timeout_s: float) -> tuple[int, str]:
    """The server's status and the beginning of its answer, as far as it arrives within one and a half time-outs."""
    deadline = time.monotonic() + 1.5 * timeout_s
    try:
        response: Any = urllib.request.build_opener(_NoRedirection).open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        response = error
    answer = b""
    with response, contextlib.suppress(OSError, http.client.HTTPException):  # the status has said what counts
        while len(answer) < _ANSWER_BYTES and time.monotonic() < deadline and (part := response.read1(_ANSWER_BYTES)):
            answer += part
    return response.status, answer[:_ANSWER_BYTES].decode("utf-8", "replace").strip()


def _begin(text: str) -> str:
    """The beginning of an error's page, which often says what is wrong."""
    line = " ".join(text[:300].split())
    return f": {line}" if line and not line.startswith("<") else ""


def _text(cause: object) -> str:
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _shown(url: str) -> str:
    """The address without what may be secret in it."""
    return url.partition("?")[0].rpartition("@")[2]


def _not_taken(url: str, reason: str, do: str) -> StudyError:
    return StudyError(f"the ranking was not accepted: {reason}", where=_shown(url), do=do)
