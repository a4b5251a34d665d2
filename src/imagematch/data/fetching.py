"""Fetches official archives: resumed where they were cut off, checked against their digests, unpacked safely."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from imagematch.data.unpacking import unpack
from imagematch.disk_space import check_room
from imagematch.errors import ConfigError, DataError
from imagematch.events import SILENT, RunLog
from imagematch.file_locks import BusyError, locked
from imagematch.files import make_dir, os_reason, write_error
from imagematch.reading import open_file
from imagematch.registry import SOURCE_REGISTRY
from imagematch.sources import Archive, Download

SERVER_TIMEOUT_S = 30.0
"""A server that says nothing for so long is given up."""

_CHUNK_BYTES = 1 << 18
_ATTEMPTS = 4
_PAUSE_S = 1.0
_HEADERS = {"User-Agent": "imagematch", "Accept-Encoding": "identity"}


class _CutOffError(Exception):
    """The connection ended before the archive did."""


def fetch_dataset(
    name: str,
    output: Path,
    *,
    log: RunLog = SILENT,
    downloads: Mapping[str, Download] | None = None,
    pause_s: float = _PAUSE_S,
) -> list[Path]:
    """Fetches and unpacks a data set; what already exists stays as it is.

    Args:
        name: of the data set.
        output: folder for it; a download that was cut off stays there too, and goes on the next time.
        log: gets licence and progress.
        downloads: what can be fetched; None: of every registered source.
        pause_s: before a connection that was cut off is tried again, seconds; longer every time.

    Returns:
        The folders of the data set.

    Raises:
        ConfigError: no data set has this name.
        DataError: it cannot be fetched: why, and what to do instead.
        StudyError: the folder cannot be written.
    """
    specs = SOURCE_REGISTRY.all()
    if downloads is None:
        downloads = {name: spec.download for name, spec in specs.items() if spec.download}
    if name not in downloads and name in specs:
        raise DataError(specs[name].not_fetched)
    if name not in downloads:
        known = ", ".join(sorted({*downloads, *specs}))
        raise ConfigError(f"no data set is called {name!r}", where="NAME", do=f"known are {known}")
    download = downloads[name]
    place = make_dir(output / download.place)
    log.event("fetch", f"{name}: {download.licence}", dataset=name)
    folders = []
    for archive in download.archives:
        folder = place / archive.folder
        folders.append(folder)
        if folder.exists():
            log.event("fetched", f"{folder} already exists; remove it to fetch it again", folder=str(folder))
            continue
        try:
            with locked(place / f".{archive.name}.lock", wait=False):
                _fetch_one(archive, place, log, pause_s)
        except BusyError as error:
            raise DataError("another process fetches it", where=str(folder), do="wait for it") from error
        except DataError:
            if place != output and not (place / f"{archive.name}.part").exists():
                _remove_if_unused(place)
            raise
        log.event("fetched", f"{folder} is complete", folder=str(folder))
    return folders


def _fetch_one(archive: Archive, place: Path, log: RunLog, pause_s: float) -> None:
    part = place / f"{archive.name}.part"
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _download(archive, part, log)
                break
            except _CutOffError as error:
                if attempt == _ATTEMPTS:
                    raise DataError(
                        f"the connection was cut off {_ATTEMPTS} times, the last time at {part.stat().st_size:,} bytes",
                        where=archive.url,
                        do="run the same command again: it goes on from there",
                    ) from error
                time.sleep(pause_s * attempt)
        _check_digest(archive, part)
        fresh = place / f".{archive.folder}.unpacking"
        _remove(fresh)
        log.say(f"unpacking {archive.name}")
        files = unpack(part, fresh, limit=archive.limit, members=archive.members)
        inner = fresh / archive.folder
        if not files or not inner.is_dir():
            _remove(fresh)
            raise DataError(f"has no folder {archive.folder}", where=archive.url, do="it is not the official archive")
        inner.rename(place / archive.folder)
        _remove(fresh)
        part.unlink()
    except OSError as error:
        raise write_error(part, error) from error


def _remove_if_unused(place: Path) -> None:
    """Removes the folder of a failed download if it holds nothing but lock files."""
    inside = list(place.iterdir())
    if all(path.suffix == ".lock" for path in inside):
        _remove(place)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _download(archive: Archive, part: Path, log: RunLog) -> None:
    """Writes the archive, or what is missing of it, to `part`.

    Raises:
        _CutOffError: the connection ended early; what came is kept.
        DataError: there is no connection, the server refuses, or it sends something else.
    """
    have = part.stat().st_size if part.exists() else 0
    if have > archive.size:
        part.unlink()
        have = 0
    if have == archive.size:
        return
    check_room(part.parent, archive.size - have)
    response = _opened(archive, part, have)
    with response:
        if have and response.status != http.HTTPStatus.PARTIAL_CONTENT:  # it sends everything again
            have = 0
        if have and _range_start(response) != have:
            raise DataError("answers with another part than it was asked for", where=archive.url, do="try again later")
        _check_length(archive, response, have)
        if have:
            log.say(f"going on with {archive.name} at {have:,} of {archive.size:,} bytes")
        with part.open("ab" if have else "wb") as file, log.progress(archive.name, archive.size) as advance:
            advance(have)
            while chunk := _read(response):
                have += len(chunk)
                if have > archive.size:
                    break
                file.write(chunk)
                advance(len(chunk))
    if have > archive.size:
        part.unlink()
        raise DataError(f"is larger than its {archive.size:,} bytes", where=archive.url, do=_not_official(archive))
    if have < archive.size:
        raise _CutOffError


def _opened(archive: Archive, part: Path, have: int) -> http.client.HTTPResponse:
    headers = {**_HEADERS, "Range": f"bytes={have}-"} if have else _HEADERS
    host = urlsplit(archive.url).hostname
    by_hand = f"or download {archive.url} yourself and unpack it"
    try:
        request = urllib.request.Request(archive.url, headers=headers)
        response: http.client.HTTPResponse = _opener().open(request, timeout=SERVER_TIMEOUT_S)
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink()
            raise _CutOffError from error
        raise DataError(
            f"the server answers {error.code} {error.reason}", where=archive.url, do=f"try again later, {by_hand}"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise DataError(
            f"no connection to {host} ({_why(error)})", where="data fetch", do=f"connect to the network, {by_hand}"
        ) from error


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https alone (through the user's proxy), wherever a server redirects to."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _why(error: BaseException) -> str:
    reason: Any = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"no answer for {SERVER_TIMEOUT_S:.0f} s"
    return os_reason(reason) if isinstance(reason, OSError) else str(reason) or type(reason).__name__


def _range_start(response: http.client.HTTPResponse) -> int:
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1


def _check_length(archive: Archive, response: http.client.HTTPResponse, have: int) -> None:
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and have + int(length) != archive.size:
        raise DataError(
            f"has {have + int(length):,} bytes, not {archive.size:,}", where=archive.url, do=_not_official(archive)
        )


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (http.client.HTTPException, OSError) as error:
        raise _CutOffError from error


def _check_digest(archive: Archive, part: Path) -> None:
    with open_file(part, max_bytes=archive.size) as file:
        digest = hashlib.file_digest(file, archive.algorithm).hexdigest()
    if digest != archive.digest:
        part.unlink()
        raise DataError(
            f"its {archive.algorithm} digest is {digest}, not {archive.digest}",
            where=archive.url,
            do=_not_official(archive),
        )


def _not_official(archive: Archive) -> str:
    return f"it is not the {archive.name} that is known: try again, or get it from another place"
