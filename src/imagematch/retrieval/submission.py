"""Posts a ranking to a server: with a time-out, repeated where the server is at fault, errors in one line."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from imagematch.errors import ConfigError, StudyError
from imagematch.events import SILENT, RunLog

TIMEOUT_S = 30.0
ATTEMPTS = 4
PAUSE_S = 1.0

_ANSWER_BYTES = 4096


def check_url(url: str) -> str:
    """`url` if a ranking can be posted to it. Raises ConfigError otherwise."""
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(c.isspace() or not c.isprintable() for c in url):
        raise ConfigError("is not a http or https address", where=f"--submit {_shown(url)}")
    if "@" in parts.netloc:
        raise ConfigError("a name or password in an address is not sent", where=f"--submit {_shown(url)}")
    return url


def submit(
    url: str,
    ranking: Mapping[str, Sequence[str]],
    *,
    timeout_s: float = TIMEOUT_S,
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
        timeout_s: how long the server may be silent, seconds; half as long again for all of its answer.
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
            return _post(request, timeout_s)
        except urllib.error.HTTPError as error:
            reason = f"answers {error.code} {error.reason}{_begin(error)}"
            if error.code < 500 and error.code != 429:
                raise _not_taken(url, reason, "check the address and what the server expects") from error
        except (OSError, http.client.HTTPException) as error:
            cause = error.reason if isinstance(error, urllib.error.URLError) else error
            silent = isinstance(cause, TimeoutError)
            reason = f"no answer within {timeout_s:g} s" if silent else f"cannot be reached: {_text(cause)}"
        if attempt < attempts:
            pause = pause_s * 2 ** (attempt - 1)
            log.say(f"{_shown(url)}: {reason}; again in {pause:g} s ({attempt} of {attempts} attempts)")
            time.sleep(pause)
    raise _not_taken(url, f"{reason} ({attempts} attempts)", "try again later: the output file is written")


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_arguments: Any, **_options: Any) -> None:
        return None


def _post(request: urllib.request.Request, timeout_s: float) -> str:
    deadline = time.monotonic() + 1.5 * timeout_s
    with urllib.request.build_opener(_NoRedirection).open(request, timeout=timeout_s) as response:
        answer = b""
        while len(answer) < _ANSWER_BYTES and time.monotonic() < deadline and (part := response.read1(_ANSWER_BYTES)):
            answer += part
    return answer[:_ANSWER_BYTES].decode("utf-8", "replace").strip()


def _begin(error: urllib.error.HTTPError) -> str:
    """The beginning of an error's page, which often says what is wrong."""
    try:
        text = " ".join(error.read(300).decode("utf-8", "replace").split())
    except (OSError, http.client.HTTPException):
        return ""
    return f": {text}" if text and not text.startswith("<") else ""


def _text(cause: object) -> str:
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


def _shown(url: str) -> str:
    """The address without what may be secret in it."""
    return url.partition("?")[0].rpartition("@")[2]


def _not_taken(url: str, reason: str, do: str) -> StudyError:
    return StudyError(f"the ranking was not taken: {reason}", where=_shown(url), do=do)
