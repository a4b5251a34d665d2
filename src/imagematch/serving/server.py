"""Runs a server: its socket, its workers, its end."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import NamedTuple

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from imagematch.errors import StudyError
from imagematch.events import SILENT, RunLog
from imagematch.files import os_reason
from imagematch.matching import ImageMatcher
from imagematch.serving.app import create_app
from imagematch.serving.monitoring import log_line
from imagematch.serving.settings import SETTINGS_VARIABLE, ServerSettings

_BACKLOG = 2048
_STOPPING_S = 8
"""How long what was begun may take when the server is to stop: it is gone ten seconds after SIGTERM."""
_STARTING_S = 60


class ServerStart(NamedTuple):
    """What a server that takes requests says of itself.

    Attributes:
        address: where it is reached.
        matcher: its name.
        model: its folder.
        gallery: its folder or URL without a password; None: no gallery.
        images: of the gallery; None likewise.
        token: requests must bear one; else only this machine reaches it.
        workers: processes.
        corrections: the file of answers; None records none.
    """

    address: str
    matcher: str
    model: str
    gallery: str | None
    images: int | None
    token: bool
    workers: int
    corrections: str | None

    @property
    def line(self) -> str:
        """The same for people."""
        parts = [f"{self.address}  matcher {self.matcher}"]
        parts += [] if self.images is None else [f"a gallery of {self.images:,} images"]
        parts += [f"answers in {self.corrections}"] if self.corrections else []
        parts += [f"{self.workers} workers"] if self.workers > 1 else []
        return ", ".join(parts) + ("" if self.token else "; no token: this machine only")


def serve_matcher(settings: ServerSettings, started: Callable[[ServerStart], None], log: RunLog = SILENT) -> None:
    """Serves until SIGINT or SIGTERM, then finishes what was begun.

    Args:
        settings: what is served, and where.
        started: called once requests are taken.
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
        app = create_app(settings, matcher)
        gallery = app.state.service.gallery if settings.gallery is not None else None
        start = ServerStart(
            address=_address(settings, listening),
            matcher=matcher.card.name,
            model=str(settings.model),
            gallery=None if gallery is None else gallery.location,
            images=None if gallery is None else len(gallery),
            token=token is not None,
            workers=settings.workers,
            corrections=None if settings.corrections is None else str(settings.corrections),
        )
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
        if settings.workers == 1:
            server = uvicorn.Server(uvicorn.Config(app, **options))  # type: ignore[arg-type]
            for number in (
                signal.SIGINT,
                signal.SIGTERM,
            ):  # also those that come before it runs, and when it has stopped
                signal.signal(number, server.handle_exit)
            started(start)
            server.run(sockets=[listening])
        else:
            app.state.service.close()  # it can be served: each worker opens its own
            del app, gallery, matcher
            workers = _workers(settings, listening, options)  # takes signals from here on
            started(start)
            workers.run()
            if any(worker.exitcode == STARTUP_FAILURE for worker in workers.processes):
                raise StudyError("a worker could not start; the log above says why")
    log_line("stopped")


def _workers(settings: ServerSettings, listening: socket.socket, options: dict[str, object]) -> Multiprocess:
    os.environ[SETTINGS_VARIABLE] = settings.model_dump_json()
    os.dup2(sys.stderr.fileno(), 2)  # workers log on the error stream that they inherit
    factory = "imagematch.serving.app:app_from_environment"
    return Multiprocess(
        uvicorn.Config(
            factory,
            factory=True,
            workers=settings.workers,
            timeout_worker_healthcheck=_STARTING_S,
            **options,  # type: ignore[arg-type]
        ),
        [listening],
    )


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
