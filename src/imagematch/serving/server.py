"""Runs a server: its socket, its workers, its end."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from imagematch.errors import StudyError
from imagematch.events import SILENT, RunLog
from imagematch.files import os_reason
from imagematch.matching import ImageMatcher
from imagematch.retrieval import Gallery
from imagematch.serving.app import create_app
from imagematch.serving.monitoring import log_line
from imagematch.serving.settings import SETTINGS_VARIABLE, ServerSettings

_BACKLOG = 2048
_STOPPING_S = 8
"""How long what was begun may take when the server is to stop: it is gone ten seconds after SIGTERM."""
_STARTING_S = 60


def serve_matcher(settings: ServerSettings, started: Callable[[str], None], log: RunLog = SILENT) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what was begun.

    Args:
        settings: what is served, and where.
        started: called with a line once requests are taken.
        log: reports if the engine had to be replaced.

    Raises:
        ConfigError: no token, and other machines would reach it.
        StudyError: it cannot listen there.
        ImagematchError: the matcher or the gallery cannot be used.
    """
    token = settings.token()
    listening = _listen(settings)
    with listening:
        matcher = ImageMatcher.load(settings.model, log=log)
        line = f"{_address(settings, listening)}  matcher {matcher.card.name}"
        if settings.gallery is not None:
            with Gallery.open(settings.gallery, matcher) as gallery:
                line += f", a gallery of {len(gallery):,} images"
        if token is None:
            line += "; no token: this machine only"
        options: dict[str, object] = {
            "http": "h11",
            "ws": "none",
            "lifespan": "on",
            "log_config": None,
            "access_log": False,
            "server_header": False,
            "timeout_keep_alive": 10,
            "timeout_graceful_shutdown": _STOPPING_S,
        }
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _ignored)  # uvicorn raises them once more when it has stopped
        if settings.workers == 1:
            config = uvicorn.Config(create_app(settings, matcher), **options)  # type: ignore[arg-type]
            started(line)
            uvicorn.Server(config).run(sockets=[listening])
        else:
            del matcher
            started(f"{line}; {settings.workers} workers")
            _run_workers(settings, listening, options)
    log_line("stopped")


def _run_workers(settings: ServerSettings, listening: socket.socket, options: dict[str, object]) -> None:
    os.environ[SETTINGS_VARIABLE] = settings.model_dump_json()
    os.dup2(sys.stderr.fileno(), 2)  # workers log on the error stream that they inherit
    factory = "imagematch.serving.app:app_from_environment"
    workers = Multiprocess(
        uvicorn.Config(
            factory,
            factory=True,
            workers=settings.workers,
            timeout_worker_healthcheck=_STARTING_S,
            **options,  # type: ignore[arg-type]
        ),
        [listening],
    )
    workers.run()
    if any(worker.exitcode == STARTUP_FAILURE for worker in workers.processes):
        raise StudyError("a worker could not start; the log above says why")


def _listen(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's algorithm off, which would cost 40 ms an answer, where the protocol is named
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((settings.host, settings.port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise StudyError(
            f"cannot listen there: {os_reason(error)}",
            where=f"{settings.host}:{settings.port}",
            do="choose another --port or --host",
        ) from error
    return listening


def _address(settings: ServerSettings, listening: socket.socket) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{listening.getsockname()[1]}"


def _ignored(_number: int, _frame: object) -> None:
    pass
