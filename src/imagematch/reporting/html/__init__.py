"""Self-contained HTML pages from Jinja2 templates, which escape everything that they are given."""

from __future__ import annotations

from imagematch.reporting.html.page import Page, ReportCard, render

__all__ = ["Page", "ReportCard", "render"]
