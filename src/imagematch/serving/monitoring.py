"""What a server measures of itself, in Prometheus's text format; and its log: JSON lines, without images."""

from __future__ import annotations

import json
import sys
import threading
from bisect import bisect_left
from collections import Counter
from datetime import UTC, datetime
from typing import Any

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ServerMetrics:
    """Counters of one process. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: Counter[str] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._images = self._batches = 0

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts an answered request; `route` is its pattern, as `/gallery/{image_id}`."""
        with self._lock:
            self._requests[method, route, status] += 1
            buckets = self._buckets.setdefault(route, [0] * (len(_SECONDS) + 1))
            buckets[bisect_left(_SECONDS, seconds)] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]  # a Counter adds any numbers

    def batch(self, images: int) -> None:
        """Counts a batch of the engine."""
        with self._lock:
            self._batches += 1
            self._images += images

    def text(self, gauges: dict[str, tuple[str, float]]) -> str:
        """All of it, and the gauges: name -> (meaning, value)."""
        with self._lock:
            lines = _head("requests_total", "counter", "Answered requests.")
            lines += [
                f'imagematch_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
                for (method, route, status), count in sorted(self._requests.items())
            ]
            lines += _head("request_seconds", "histogram", "Time from a request's head to the end of its answer.")
            for route, buckets in sorted(self._buckets.items()):
                total = 0
                for edge, count in zip((*_SECONDS, "+Inf"), buckets, strict=True):
                    total += count
                    lines.append(f'imagematch_request_seconds_bucket{{route="{route}",le="{edge}"}} {total}')
                lines.append(f'imagematch_request_seconds_sum{{route="{route}"}} {self._seconds[route]:.6f}')
                lines.append(f'imagematch_request_seconds_count{{route="{route}"}} {total}')
            counters = {"images_total": ("Embedded images.", self._images)}
            counters["batches_total"] = ("Batches of the engine.", self._batches)
        for name, (meaning, count) in counters.items():
            lines += [*_head(name, "counter", meaning), f"imagematch_{name} {count}"]
        for name, (meaning, value) in gauges.items():
            lines += [*_head(name, "gauge", meaning), f"imagematch_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, meaning: str) -> list[str]:
    return [f"# HELP imagematch_{name} {meaning}", f"# TYPE imagematch_{name} {kind}"]


def log_line(event: str, **fields: Any) -> None:
    """Writes one JSON object in a line on the error stream."""
    record = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
    print(json.dumps(record), file=sys.stderr, flush=True)
