"""`imagematch serve` under load from this process: requests a second and waiting times, memory, and bad requests.

A matcher with untrained weights and a gallery of made-up embeddings are served on this machine's own address. 1, 8 and
64 clients send JPEGs of 224 x 224 pixels over open connections to /embed and /search, for --seconds each. Ratios are to
the matcher's own images a second (decoding and the engine, 64 images at a time, in this process with nothing else
running), and to a naive FastAPI application that embeds one request at a time. Clients, server and engine share the
processors. Then bad requests of every kind are mixed with good ones. Three minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil

CLIENTS = (1, 8, 64)
DIM, K, IMAGES = 64, 10, 64
_BOUNDARY = "imagematch-benchmark"
_TOKEN = {"Authorization": "Bearer the-token-of-the-benchmark"}


def jpegs(count: int, side: int = 224) -> list[bytes]:
    """Made-up photos: smooth colours with some noise."""
    from PIL import Image

    random, files = np.random.default_rng(0), []
    for _ in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).resize((side, side), 3)
        noise = random.integers(-8, 8, (side, side, 3))
        file = io.BytesIO()
        Image.fromarray((np.asarray(coarse).astype(int) + noise).clip(0, 255).astype(np.uint8)).save(file, "JPEG")
        files.append(file.getvalue())
    return files


def write_matcher(folder: Path, extractor: str) -> None:
    """A matcher with random weights."""
    from imagematch.data import DECODER_VERSION
    from imagematch.extractors import choose_extractor
    from imagematch.matching import HeadCard, ProvenanceCard, ThresholdCard, save_matcher
    from imagematch.model import build_head

    size = 8 if extractor == "pixels" else None
    settings = SimpleNamespace(
        feature_extractor=extractor, weights="random", image_size=size, trainable=False, seed=0, input=None
    )
    made = choose_extractor(settings)
    engine = "numpy" if extractor == "pixels" else "openvino"
    save_matcher(
        folder,
        name="benchmark",
        extractor=made,
        network=None,
        trained=False,
        head=build_head(made.feature_dim, units=(), dropout=0.0, embedding_dim=DIM, seed=0),
        config="experiment_name: benchmark\n",
        embedding={
            **{"image_size": made.image_size, "decoder": DECODER_VERSION, "engine": engine, "precision": "float32"},
            "head": HeadCard(units=(), whitening=None, embedding_dim=DIM),
        },
        threshold=ThresholdCard(distance=0.5, criterion="eer", chosen_on="calibration"),
        probability=None,
        provenance=ProvenanceCard(),
        network_dir=folder.parent / "networks",
    )


def fill_gallery(location: Path, matcher: Any, count: int) -> None:
    """A gallery of made-up embeddings."""
    from imagematch.retrieval import GALLERY_STORES, Gallery, NewImage

    Gallery.create(location, matcher).close()
    rows = np.random.default_rng(1).standard_normal((count, DIM), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    store = GALLERY_STORES.of(str(location)).open(str(location))
    for start in range(0, count, 5_000):
        part = range(start, min(start + 5_000, count))
        store.add([NewImage(f"{row:032x}", f"label {row % 1000}", "", rows[row], b"") for row in part])
    store.close()


def images_per_second(matcher: Any, files: list[bytes], seconds: float) -> float:
    """The matcher alone."""
    matcher.embed(files)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        matcher.embed(files)
        done += len(files)
    return done / (time.perf_counter() - started)


def naive_app(folder: str) -> Any:
    """An application as one writes it in five minutes: one image at a time, in the event loop."""
    from fastapi import FastAPI, Request

    from imagematch.matching import ImageMatcher

    matcher, app = ImageMatcher.load(folder), FastAPI()

    async def embed(request: Request) -> dict[str, Any]:
        return {"embeddings": matcher.embed([await request.body()]).tolist()}

    embed.__annotations__["request"] = Request
    app.post("/embed")(embed)
    return app


def serve_naively(folder: str) -> None:
    """Serves that on a free port, which it prints."""
    import socket

    import uvicorn

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(naive_app(folder), log_config=None, access_log=False)).run(sockets=[listening])


@contextlib.contextmanager
def server(*arguments: str, **environment: str) -> Iterator[tuple[int, int]]:
    """A server process: its port and its id."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the server did not start: {arguments}")
            yield int(line.split()[0].rsplit(":", 1)[1]), process.pid
        finally:
            process.terminate()


def request_bytes(path: str, body: bytes, kind: str = "image/jpeg", **headers: str) -> bytes:
    """A POST."""
    lines = {"Host": "127.0.0.1", "Content-Type": kind, "Content-Length": str(len(body)), **headers}
    head = "\r\n".join([f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items()), "", ""])
    return head.encode() + body


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """The status of the answer; 0 where the connection ended without one."""
    try:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        return int(head.split()[1])
    except (OSError, asyncio.IncompleteReadError):
        return 0


async def load(port: int, path: str, files: list[bytes], clients: int, seconds: float) -> tuple[list[float], float]:
    """Seconds of each request, and of all together; every one must be answered 200."""
    taken: list[float] = []
    ends = time.perf_counter() + seconds

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        turn = number
        while time.perf_counter() < ends:
            started = time.perf_counter()
            status = await answered(reader, writer, request_bytes(path, files[turn % len(files)]))
            if status != 200:
                raise SystemExit(f"{path} answered {status}")
            taken.append(time.perf_counter() - started)
            turn += clients
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(clients)))
    return taken, time.perf_counter() - started


def bad_requests(good: bytes) -> dict[str, bytes]:
    """One of each kind, for a server that takes 2 MB, with its token but in "wrong token"."""
    part = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'.encode()
    many = part + (b"\r\n" + part) * 9_999 + f"\r\n--{_BOUNDARY}--\r\n".encode()
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\0\0\1\0\0\x08\2\0\0\0\0\0\0\0"
    endless = request_bytes("/embed", b"", **_TOKEN).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    return {
        "no image": request_bytes("/embed", b"no image", **_TOKEN),
        "truncated": request_bytes("/embed", good[: len(good) // 2], **_TOKEN),
        "bomb": request_bytes("/search", bomb, "image/png", **_TOKEN),
        "a body of 1 GB": request_bytes("/embed", b"", **{"Content-Length": str(10**9), **_TOKEN}),
        "a body without end": endless + b"1e8481\r\n" + b"x" * 2_000_001 + b"\r\n",
        "slow body": request_bytes("/embed", good[:100], **{"Content-Length": str(len(good)), **_TOKEN}),
        "other type": request_bytes("/embed", b"x", "text/plain", **_TOKEN),
        "no JSON": request_bytes("/embed", b"{", "application/json", **_TOKEN),
        "wrong field": request_bytes("/search?k=0", good, **_TOKEN),
        "wrong token": request_bytes("/embed", good, Authorization="Bearer another-token-than-it"),
        "other site": request_bytes("/embed", good, Origin="http://elsewhere.example", **_TOKEN),
        "10,000 files": request_bytes("/gallery", many, f"multipart/form-data; boundary={_BOUNDARY}", **_TOKEN),
        "other path": request_bytes("/nothing", good, **_TOKEN),
    }


@contextlib.contextmanager
def abused_server(folder: Path, gallery: Path) -> Iterator[tuple[int, int]]:
    """A server with small limits and a token: its port and its id."""
    limits = ("--max-body-mb", "2", "--body-seconds", "1", "--port", "0")
    arguments = ("-m", "imagematch", "serve", "--model", str(folder), "--gallery", str(gallery), *limits)
    with server(*arguments, IMAGEMATCH_TOKEN=_TOKEN["Authorization"].split()[1]) as started:
        yield started


async def abuse(port: int, files: list[bytes], count: int) -> tuple[Counter[tuple[str, int]], Counter[int]]:
    """Kinds and statuses of bad requests, each on its own connection, and the statuses of good ones beside them."""
    kinds, bad, good = bad_requests(files[0]), Counter[tuple[str, int]](), Counter[int]()
    names = list(kinds)
    turns = iter(range(count))
    over = asyncio.Event()

    async def offender() -> None:
        for turn in turns:
            kind = names[turn % len(names)]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            bad[kind, await asyncio.wait_for(answered(reader, writer, kinds[kind]), 120)] += 1
            writer.close()

    async def customer() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while not over.is_set():
            good[await answered(reader, writer, request_bytes("/search", files[0], **_TOKEN))] += 1
        writer.close()

    customers = [asyncio.create_task(customer()) for _ in range(4)]
    await asyncio.gather(*(offender() for _ in range(16)))
    over.set()
    await asyncio.gather(*customers)
    return bad, good


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Everything, one after another."""
    from imagematch.matching import ImageMatcher

    files = jpegs(IMAGES)
    found: dict[str, Any] = {"name": "serving", "ratios": {}, "seconds": {}, "per_second": {}, "megabytes": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder, gallery = Path(temporary) / "matcher", Path(temporary) / "gallery"
        write_matcher(folder, options.extractor)
        matcher = ImageMatcher.load(folder)
        fill_gallery(gallery, matcher, options.gallery)
        own = images_per_second(matcher, files, options.seconds)
        del matcher
        found["per_second"]["matcher alone"] = own
        with server(__file__, "--serve-naively", str(folder)) as (port, _):
            naive = {}
            for clients in CLIENTS:
                taken, seconds = asyncio.run(load(port, "/embed", files, clients, options.seconds))
                naive[clients] = found["per_second"][f"naive embed, {clients} clients"] = len(taken) / seconds
        arguments = ("serve", "--model", str(folder), "--gallery", str(gallery), "--port", "0")
        with server("-m", "imagematch", *arguments) as (port, process):
            memory = psutil.Process(process).memory_info
            asyncio.run(load(port, "/search", files, max(CLIENTS), options.seconds))
            before, count = memory().rss, 0
            for path in ("/embed", "/search"):
                for clients in CLIENTS:
                    taken, seconds = asyncio.run(load(port, path, files, clients, options.seconds))
                    what = f"{path[1:]}, {clients} clients"
                    count += len(taken)
                    found["per_second"][what] = len(taken) / seconds
                    for percent in (50, 95, 99):
                        found["seconds"][f"{what} p{percent}"] = float(np.percentile(taken, percent))
                    found["ratios"][f"{what}, to matcher"] = len(taken) / seconds / own
                    if path == "/embed":
                        found["ratios"][f"{what}, to naive"] = len(taken) / seconds / naive[clients]
            found["megabytes"] = {"server": before / 1e6, "growth": (memory().rss - before) / 1e6}
            found["requests"] = {"before growth was read": count}
        with abused_server(folder, gallery) as (port, process):
            memory = psutil.Process(process).memory_info
            asyncio.run(abuse(port, files, min(200, options.bad)))
            before, started = memory().rss, time.perf_counter()
            bad, good = asyncio.run(abuse(port, files, options.bad))
            found["seconds"]["bad requests"] = time.perf_counter() - started
            found["megabytes"]["growth with bad requests"] = (memory().rss - before) / 1e6
            found["requests"] |= {f"{kind}, answered {status}": number for (kind, status), number in bad.items()}
            found["requests"] |= {f"good beside, answered {status}": number for status, number in sorted(good.items())}
            found["ratios"]["bad requests answered 4xx"] = sum(
                number for (_, status), number in bad.items() if 400 <= status < 500
            ) / sum(bad.values())
            found["ratios"]["good requests answered 200"] = good[200] / sum(good.values())
    return found


def main() -> None:
    """Parses the options, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--extractor", default="efficientnet", help="the matcher's network, or pixels")
    parser.add_argument("--gallery", type=int, default=100_000, help="images of the gallery")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--bad", type=int, default=2_000, help="bad requests")
    parser.add_argument("--data-dir", help="not used: the images are made up")
    parser.add_argument("--weights", help="not used: the weights are random")
    parser.add_argument("--serve-naively", metavar="MATCHER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve_naively:
        serve_naively(options.serve_naively)
        return
    found = measure(options)
    if options.json:
        print(json.dumps(found))
        return
    for group in ("per_second", "seconds", "ratios", "megabytes", "requests"):
        print(group.replace("_", " "))
        for what, value in found[group].items():
            print(f"  {what:40} {value:.4g}")


if __name__ == "__main__":
    main()
