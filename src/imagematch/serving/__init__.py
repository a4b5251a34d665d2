"""A matcher and its gallery as an HTTP service, and the page to work in (`pip install 'imagematch[serve]'`)."""

from __future__ import annotations

from imagematch.serving.app import create_app
from imagematch.serving.server import ServerStart, serve_matcher
from imagematch.serving.settings import TOKEN_VARIABLE, ServerSettings

__all__ = ["TOKEN_VARIABLE", "ServerSettings", "ServerStart", "create_app", "serve_matcher"]
