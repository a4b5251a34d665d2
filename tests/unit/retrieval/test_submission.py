import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from imagematch.errors import ConfigError, StudyError
from imagematch.retrieval import check_url, submit

QUICK: dict[str, Any] = {"timeout_s": 0.3, "pause_s": 0.01}
RANKING = {"a/ü.jpg": ["b.jpg", "c.jpg"]}


class Server(ThreadingHTTPServer):
    """Answers in turn as it is told; the last answer is repeated."""

    daemon_threads = True
    answers: list[Any]
    bodies: list[bytes]
    paths: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        answer = self.server.answers[min(len(self.server.bodies), len(self.server.answers)) - 1]
        if answer == "break off":
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if answer == "silence":
            threading.Event().wait(1.0)
            return
        if answer == "drip":
            self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n")
            for _ in range(40):
                self.wfile.write(b".")
                threading.Event().wait(0.05)
            return
        if answer in ("drip header", "drip error"):
            self.wfile.write(b"HTTP/1.0 " if answer == "drip header" else b"HTTP/1.0 500 Oops\r\n\r\n")
            for _ in range(2_000):  # until the client is gone
                self.wfile.write(b"2")
                threading.Event().wait(0.05)
            self.server.paths.append("dripped to the end")
            return
        status, text = answer
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    made = Server(("127.0.0.1", 0), Handler)
    made.answers, made.bodies, made.paths = [(200, "score 0.75")], [], []
    made.handle_error = lambda *_: None  # type: ignore[method-assign, assignment]  # a client that gave up
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/submit?token=secret"


def test_the_ranking_arrives_and_the_answer_comes_back(server: Server) -> None:
    assert submit(url(server), RANKING, **QUICK) == "score 0.75"
    assert [json.loads(body) for body in server.bodies] == [RANKING]


@pytest.mark.parametrize("failure", [(500, "oops"), (503, ""), (429, "slow down"), "break off", "silence"])
def test_a_server_at_fault_is_tried_again(server: Server, failure: Any) -> None:
    server.answers = [failure, failure, (200, "fine")]
    assert submit(url(server), RANKING, **QUICK) == "fine"
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ((500, "the disk\nis full"), r"answers 500 Internal Server Error: the disk is full \(3 attempts\)"),
        ("silence", r"no answer within 0.3 s \(3 attempts\)"),
        ("break off", r"cannot be reached: .*\(3 attempts\)"),
    ],
)
def test_a_server_that_stays_at_fault_is_told_in_one_line(server: Server, failure: Any, told: str) -> None:
    server.answers = [failure]
    with pytest.raises(StudyError, match=told) as error:
        submit(url(server), RANKING, attempts=3, **QUICK)
    assert len(server.bodies) == 3
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        ((404, "no such page"), "answers 404 Not Found: no such page"),
        ((400, "<html>"), "answers 400 Bad Request;"),
        ((302, ""), "answers 302"),
    ],
)
def test_an_answer_that_is_final_is_not_tried_again(server: Server, failure: Any, told: str) -> None:
    server.answers = [failure]
    with pytest.raises(StudyError, match=told):
        submit(url(server), RANKING, **QUICK)
    assert len(server.bodies) == 1


def test_an_answer_that_never_ends_is_cut(server: Server) -> None:
    server.answers = ["drip"]
    assert 0 < len(submit(url(server), RANKING, **QUICK)) < 30


@pytest.mark.parametrize(
    ("answer", "told"),
    [("drip header", r"no answer within 0.2 s \(2 attempts\)"), ("drip error", r"answers 500 .*: 22.* \(2 attempts\)")],
)
def test_a_server_that_drips_is_given_up(server: Server, answer: str, told: str) -> None:
    server.answers = [answer]
    with pytest.raises(StudyError, match=told):
        submit(url(server), RANKING, timeout_s=0.2, pause_s=0.01, attempts=2)
    assert "dripped to the end" not in server.paths


def test_an_address_is_sent_in_ascii(server: Server) -> None:
    place = f"http://127.0.0.1:{server.server_port}/für/a%20b"
    assert submit(place, RANKING, **QUICK) == "score 0.75"
    assert server.paths == ["/f%C3%BCr/a%20b"]
    assert check_url("https://bücher.example:8080/x?q=ü&b=[1]#part") == (
        "https://xn--bcher-kva.example:8080/x?q=%C3%BC&b=%5B1%5D"
    )
    assert check_url("http://[::1]:80/a") == "http://[::1]:80/a"


def test_a_proxy_that_is_no_address_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "http:///")
    with pytest.raises(StudyError, match=r"cannot be reached: .*\(1 attempts\)"):
        submit("http://127.0.0.1:9/", RANKING, attempts=1, **QUICK)


def test_nobody_listening_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        with pytest.raises(StudyError, match=r"cannot be reached: Connection refused \(2 attempts\)"):
            submit(f"http://127.0.0.1:{taken.getsockname()[1]}/", RANKING, attempts=2, **QUICK)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://a b/",
        "http://a\n/",
        "http://a..b/",
        f"http://{'ü' * 70}.example/",
    ],
)
def test_what_is_no_http_address_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="is not an http or https address"):
        check_url(wrong)


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="not sent") as error:
        check_url("https://me:hush@example.org/x")
    assert "hush" not in str(error.value)
