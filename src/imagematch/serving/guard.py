"""The server's door: token, host and origin of a request; headers of its answer; one line of the log."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagematch.serving.monitoring import ServerMetrics, log_line

OPEN_PATHS = ("/", "/docs", "/health", "/openapi.json")
"""What needs no token, beside the page's own files: the page asks for it."""
PAGE_PATH = "/page/"

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LOGGED_LETTERS = 200


class Guard:
    """Middleware around the whole application.

    Args:
        app: what is guarded.
        token: that requests must bear; None where only this machine's requests come, which must then name this machine
            as their host: a page of another site may have its name point here.
        metrics: where answers are counted.
    """

    def __init__(self, app: ASGIApp, token: str | None, metrics: ServerMetrics) -> None:
        self._app = app
        self._token = None if token is None else hashlib.sha256(token.encode()).digest()
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        problem = self._problem(scope["method"], scope["path"], Headers(scope=scope))
        error = None
        try:
            await (self._app if problem is None else problem)(scope, receive, sending)
        except Exception as caught:  # a defect of ours: one line all the same
            error = f"{type(caught).__name__}: {caught}"
            if not status:
                await JSONResponse({"error": "internal error; the server's log has more"}, 500)(scope, receive, sending)
        seconds = time.perf_counter() - started
        route = getattr(scope.get("route"), "path", None) or "other"
        method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
        self._metrics.request(method, route, status, seconds)
        fields: dict[str, Any] = {"error": error[:1000]} if error else {}
        log_line(
            "request",
            method=scope["method"][:_LOGGED_LETTERS],
            path=scope["path"][:_LOGGED_LETTERS],
            status=status,
            ms=round(1000 * seconds, 1),
            client=(scope.get("client") or ("",))[0],
            **fields,
        )

    def _problem(self, method: str, path: str, headers: Headers) -> JSONResponse | None:
        """Why a request is not let in; None where it is."""
        host = headers.get("host", "")
        if self._token is None and not _is_this_machine(host):
            return _refused(421, "without a token this server is reached as 127.0.0.1 or localhost only")
        origin = headers.get("origin")
        if (origin is not None and urlsplit(origin).netloc != host) or (
            method not in ("GET", "HEAD") and headers.get("sec-fetch-site") in ("cross-site", "same-site")
        ):
            return _refused(403, "requests of another site's pages are not answered")
        if self._token is None or path in OPEN_PATHS or path.startswith(PAGE_PATH):
            return None
        kind, _, given = headers.get("authorization", "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("latin-1", "replace")).digest()
        if kind.lower() == "bearer" and hmac.compare_digest(digest, self._token):
            return None
        return _refused(401, "needs the server's token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})


def _refused(status: int, what: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": what}, status, {"Connection": "close", **(headers or {})})


def _is_this_machine(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
