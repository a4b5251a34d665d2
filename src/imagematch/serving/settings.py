"""What a server is started with: its matcher, its gallery, its address, its token, and the limits of a request."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from imagematch.errors import ConfigError
from imagematch.files import os_reason
from imagematch.reading import read_file

TOKEN_VARIABLE = "IMAGEMATCH_TOKEN"  # noqa: S105 - the name of a variable
SETTINGS_VARIABLE = "IMAGEMATCH_SERVER"
"""Environment variable by which worker processes get the settings, as JSON without the token."""

_TOKEN_BYTES = 4096
_TOKEN_LETTERS = 16


class ServerSettings(BaseModel):
    """Settings of a server.

    Attributes:
        model: a matcher's folder.
        gallery: a gallery's folder or URL; None serves none.
        host: address to listen on.
        port: to listen on; 0 takes a free one.
        workers: processes, each with a matcher of its own.
        token_file: file of the token; None takes the environment's, if there is one.
        max_body_mb: size of a request, MB.
        max_images: images of a request.
        max_megapixels: pixels of an image.
        max_waiting: images that are waiting or embedded at a time; more are answered 503.
        max_memory_mb: bodies of all requests at a time, MB; more are answered 503.
        body_seconds: time in which a request must have arrived.
        corrections: file of what people answer in the review; None records none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Path
    gallery: str | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=64)
    token_file: Path | None = None
    max_body_mb: int = Field(default=32, ge=1, le=1024)
    max_images: int = Field(default=64, ge=1, le=1024)
    max_megapixels: int = Field(default=50, ge=1, le=500)
    max_waiting: int = Field(default=256, ge=1, le=65_536)
    max_memory_mb: int = Field(default=512, ge=1, le=65_536)
    corrections: Path | None = None
    body_seconds: float = Field(default=30, gt=0, le=3600)

    @property
    def is_loopback(self) -> bool:
        """Only this machine reaches the address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def token(self) -> str | None:
        """The bearer token that requests must send, from the file or the environment.

        Raises:
            ConfigError: it cannot be read or is too short; or there is none, and other machines reach the address.
        """
        if self.token_file is not None:
            try:
                token = read_file(self.token_file, max_bytes=_TOKEN_BYTES).decode("ascii").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = os_reason(error) if isinstance(error, OSError) else "is not ASCII text"
                raise ConfigError(f"the token cannot be read: {reason}", where=str(self.token_file)) from error
            where = str(self.token_file)
        else:
            token, where = os.environ.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE
            if not token:
                if not self.is_loopback:
                    raise ConfigError(
                        "without a token the server listens to this machine only",
                        where=f"--host {self.host}",
                        do=f"give --token-file or {TOKEN_VARIABLE}, or leave out --host",
                    )
                return None
        if len(token) < _TOKEN_LETTERS or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigError(f"a token has {_TOKEN_LETTERS} or more letters, digits and signs", where=where)
        return token
