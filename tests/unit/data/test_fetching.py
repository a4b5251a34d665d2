"""Downloads from a server on this machine: complete, resumed, cut off, wrong, and no server at all."""

from __future__ import annotations

import hashlib
import http.server
import io
import re
import socket
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from imagematch.data import fetch_dataset, fetching
from imagematch.errors import ConfigError, DataError, StudyError
from imagematch.events import RunLog
from imagematch.registry import SOURCE_REGISTRY
from imagematch.sources import Archive, Download


@dataclass
class Server:
    """What a small web server sends, and what it was asked for.

    Attributes:
        files: path -> content.
        ranges: whether it can send a part.
        cut_after: bytes after which each of the next answers ends, one number an answer.
        status: an error that it answers instead.
        asked: the Range header of each request.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut_after: list[int] = field(default_factory=list)
    status: int = 200
    redirect: str = ""
    wrong_part: bool = False
    asked: list[str | None] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.headers.get("Range"))
            data = state.files.get(self.path.lstrip("/"), b"")
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(wanted[1]) if wanted and state.ranges else 0
            status = 206 if start else state.status
            if state.redirect and "moved" not in self.path:
                self.send_response(302)
                self.send_header("Location", state.redirect)
                self.end_headers()
                return
            if start >= len(data) > 0:
                status = 416
            self.send_response(status)
            if status == 206:
                shown = start + 1 if state.wrong_part else start
                self.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
            body = data[start:] if status < 300 else b"sorry"
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_after.pop(0)] if state.cut_after else body)

        def log_message(self, *_: Any) -> None:
            pass

    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = running.server_address[1]
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    running.shutdown()
    thread.join()
    running.server_close()


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


SET = zipped(**{f"set/{n}.png": bytes([n]) * 4000 for n in range(30)}, **{"other/readme": b"x"})


def downloads(server: Server, data: bytes = SET, **changes: Any) -> dict[str, Download]:
    server.files["set.zip"] = data
    digest = hashlib.sha256(data).hexdigest()
    archive = Archive(server.url("set.zip"), len(data), digest, "sha256", "set", 1_000_000, 100)
    return {"flowers": Download("place", (replace(archive, **changes),), "free")}


@pytest.fixture
def told() -> io.StringIO:
    """What people are told."""
    return io.StringIO()


@pytest.fixture
def fetched(server: Server, tmp_path: Path, told: io.StringIO) -> Callable[..., list[Path]]:
    def run(data: bytes = SET, **changes: Any) -> list[Path]:
        log = RunLog(stream=told)
        return fetch_dataset(
            "flowers", tmp_path / "out", log=log, downloads=downloads(server, data, **changes), pause_s=0
        )

    return run


def left(tmp_path: Path) -> set[str]:
    place = tmp_path / "out" / "place"
    return {path.name for path in place.iterdir()} - {".set.zip.lock"} if place.exists() else set()


def test_fetches_unpacks_and_leaves_nothing_else(fetched: Any, server: Server, tmp_path: Path, told: Any) -> None:
    (folder,) = fetched()
    assert folder == tmp_path / "out" / "place" / "set"
    assert sorted(path.name for path in folder.iterdir())[:2] == ["0.png", "1.png"]
    assert (folder / "7.png").read_bytes() == bytes([7]) * 4000
    assert left(tmp_path) == {"set"}
    assert server.asked == [None]
    (folder / "7.png").write_bytes(b"mine")
    assert fetched() == [folder]
    assert (folder / "7.png").read_bytes() == b"mine"
    assert server.asked == [None]
    assert "already exists; remove it to fetch it again" in told.getvalue()


def test_goes_on_where_it_was_cut_off(fetched: Any, server: Server) -> None:
    server.cut_after = [50_000, 20_000]
    (folder,) = fetched()
    assert len(list(folder.iterdir())) == 30
    assert server.asked == [None, "bytes=50000-", "bytes=70000-"]


def test_goes_on_the_next_time(fetched: Any, server: Server, tmp_path: Path, told: Any) -> None:
    server.cut_after = [10_000, 5_000, 5_000, 5_000]
    with pytest.raises(DataError, match=r"cut off 4 times, the last time at 25,000 bytes; run the same command again"):
        fetched()
    assert left(tmp_path) == {"set.zip.part"}
    server.asked.clear()
    (folder,) = fetched()
    assert server.asked == ["bytes=25000-"]
    assert len(list(folder.iterdir())) == 30
    assert "going on with set.zip at 25,000 of" in told.getvalue()


def test_a_server_that_sends_everything_again(fetched: Any, server: Server) -> None:
    server.ranges = False
    server.cut_after = [50_000]
    (folder,) = fetched()
    assert len(list(folder.iterdir())) == 30


def test_a_complete_part_is_not_asked_for_again(fetched: Any, server: Server, tmp_path: Path) -> None:
    place = tmp_path / "out" / "place"
    place.mkdir(parents=True)
    (place / "set.zip.part").write_bytes(SET)
    fetched()
    assert server.asked == []
    assert left(tmp_path) == {"set"}


def test_a_part_of_another_file_is_found_out(fetched: Any, tmp_path: Path) -> None:
    place = tmp_path / "out" / "place"
    place.mkdir(parents=True)
    (place / "set.zip.part").write_bytes(b"x" * 10_000)
    with pytest.raises(DataError, match=r"its sha256 digest is .*, not .*; it is not the set.zip that is known"):
        fetched()
    assert left(tmp_path) == set()
    fetched()
    (place / "set").rename(tmp_path / "before")
    (place / "set.zip.part").write_bytes(b"x" * (len(SET) + 1))  # longer than it can be
    fetched()
    assert left(tmp_path) == {"set"}


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"digest": "0" * 32, "algorithm": "md5"}])
def test_a_wrong_digest(change: dict[str, str], fetched: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"set.zip: its {change.get('algorithm', 'sha256')} digest is"):
        fetched(**change)
    assert left(tmp_path) == set()


def test_a_wrong_size(fetched: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"has {len(SET):,} bytes, not 17"):
        fetched(size=17)
    assert left(tmp_path) == set()


def test_a_wrong_part(fetched: Any, server: Server) -> None:
    server.cut_after, server.wrong_part = [1000], True
    with pytest.raises(DataError, match="answers with another part than it was asked for"):
        fetched()


def test_a_range_that_the_server_refuses_starts_anew(fetched: Any, server: Server, tmp_path: Path) -> None:
    place = tmp_path / "out" / "place"
    place.mkdir(parents=True)
    (place / "set.zip.part").write_bytes(SET[:-1])
    full, server.files["set.zip"] = SET, SET[:5]
    definitions = downloads(server)
    server.files["set.zip"] = full[: len(SET) - 1]
    with pytest.raises(DataError, match="bytes, not"):
        fetch_dataset("flowers", tmp_path / "out", downloads=definitions, pause_s=0)
    assert server.asked == [f"bytes={len(SET) - 1}-", None]


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_a_server_that_refuses(status: int, fetched: Any, server: Server) -> None:
    server.status = status
    with pytest.raises(DataError, match=rf"set.zip: the server answers {status} .*; try again later, or download http"):
        fetched()


def test_redirects(fetched: Any, server: Server) -> None:
    server.redirect = server.url("moved.zip")
    server.files["moved.zip"] = SET
    fetched()
    assert len(server.asked) == 2


@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_redirects_to_other_kinds_of_places(place: str, fetched: Any, server: Server) -> None:
    server.redirect = place
    with pytest.raises(DataError) as caught:
        fetched()
    assert "\n" not in str(caught.value)


def test_no_network_is_one_line(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    definitions = downloads(server, url=f"http://127.0.0.1:{port}/set.zip")
    with pytest.raises(
        DataError, match=r"no connection to 127.0.0.1 \(Connection refused\); connect to the network, or download http"
    ):
        fetch_dataset("flowers", tmp_path, downloads=definitions)
    assert list(tmp_path.iterdir()) == [], "a folder without anything would look like the data set"

    def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", nowhere)
    with pytest.raises(DataError, match=r"no connection to 127.0.0.1 \(Temporary failure in name resolution\)"):
        fetch_dataset("flowers", tmp_path, downloads=definitions)


def test_a_proxy_that_refuses_says_why(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", server.url(""))
    with pytest.raises(DataError, match=r"no connection to example.org \(Tunnel connection failed: 501 .*\);"):
        fetch_dataset("flowers", tmp_path, downloads=downloads(server, url="https://example.org/set.zip"))


def test_a_server_that_says_nothing(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "SERVER_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        definitions = downloads(server, url=f"http://127.0.0.1:{silent.getsockname()[1]}/set.zip")
        with pytest.raises(DataError, match=r"no connection to 127.0.0.1"):
            fetch_dataset("flowers", tmp_path, downloads=definitions)


def test_an_archive_without_its_folder(fetched: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder set"):
        fetched(zipped(**{"elsewhere/a": b""}))
    assert left(tmp_path) == {"set.zip.part"}


def test_a_hostile_archive_leaves_nothing(fetched: Any, tmp_path: Path) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name in ("set/fine", "set/../../../evil"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(DataError, match="leads outside"):
        fetched(data.getvalue())
    assert not list(tmp_path.rglob("evil"))
    assert left(tmp_path) == {"set.zip.part"}


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(StudyError, match="out/place: cannot write"):
        fetch_dataset("flowers", tmp_path / "out", downloads=downloads(server))


def test_every_data_set_is_fetched_or_explained() -> None:
    for spec in SOURCE_REGISTRY.all().values():
        assert bool(spec.download) != bool(spec.not_fetched), spec.name
    with pytest.raises(ConfigError, match="no data set is called 'imagenet'; known are celeba, csv, digits"):
        fetch_dataset("imagenet", Path())
    with pytest.raises(DataError, match=r"CelebA is for non-commercial research only .* in a browser") as caught:
        fetch_dataset("celeba", Path())
    assert "\n" not in str(caught.value)


def test_the_table_is_plausible() -> None:
    lengths = {"md5": 32, "sha256": 64}
    downloads = [spec.download for spec in SOURCE_REGISTRY.all().values() if spec.download]
    assert len(downloads) == 3
    for download in downloads:
        assert download.licence
        for archive in download.archives:
            assert len(archive.digest) == lengths[archive.algorithm]
            assert archive.size < archive.limit
            assert archive.url.startswith("http")
