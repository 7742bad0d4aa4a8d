"""The command line as a test calls it, and a daemon by script."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest

from mailsandbox.cli.main import main


@pytest.fixture(autouse=True)
def _nothing_of_this_users(monkeypatch, tmp_path):
    """No daemon, configuration or terminal of whoever runs the tests."""
    for name in ("READY_FILE", "URL", "CONFIG", "PASSWORD"):
        monkeypatch.delenv(f"MAILSANDBOX_{name}", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")


class Ran:
    """What a command did."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def run(capsys) -> Callable[..., Ran]:
    """`run("list", "a@b")` in this process."""

    def call(*arguments: str) -> Ran:
        code = main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


class ScriptedDaemon:
    """Answers as `answers` says, by method and path; `asked` lists what was asked, with the query and body."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], tuple[int, object]] = {}
        self.asked: list[tuple[str, str, list[tuple[str, str]], bytes]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                owner.asked.append((self.command, parts.path, parse_qsl(parts.query), body))
                status, content = owner.answers.get(
                    (self.command, parts.path), (404, {"title": "Not found", "detail": f"there is no {parts.path}"})
                )
                octets = (
                    content if isinstance(content, bytes) else b"" if content is None else json.dumps(content).encode()
                )
                self.send_response(status)
                self.send_header("Content-Length", str(len(octets)))
                self.end_headers()
                self.wfile.write(octets)

            do_GET = do_POST = do_DELETE = _answer  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def scripted(monkeypatch) -> Iterator[ScriptedDaemon]:
    """A daemon that the commands find by themselves."""
    daemon = ScriptedDaemon()
    monkeypatch.setenv("MAILSANDBOX_URL", daemon.url)
    yield daemon
    daemon.close()


class ScriptedServer:
    """An SMTP server on a thread: offers what it is told, keeps what was said and the octets that came."""

    def __init__(self, offers: list[str], replies: dict[str, str]) -> None:
        self.offers = offers
        self.replies = replies  # by verb, instead of 250
        self.said: list[str] = []
        self.octets = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as file:
                self._talk(file)

    def _talk(self, file) -> None:
        def reply(text: str) -> None:
            file.write(text.encode() + b"\r\n")
            file.flush()

        reply("220 peer.test ESMTP")
        while line := file.readline():
            text = line.decode().rstrip("\r\n")
            self.said.append(text)
            verb = text.upper().split(" ")[0].split(":")[0]
            if verb == "EHLO":
                rows = ["peer.test", *self.offers]
                reply("\r\n".join(f"250{'-' if at < len(rows) - 1 else ' '}{row}" for at, row in enumerate(rows)))
            elif verb == "DATA" and "DATA" not in self.replies:
                reply("354 go on")
                lines = []
                while (row := file.readline()) not in (b".\r\n", b""):
                    lines.append(row.removeprefix(b"."))
                self.octets = b"".join(lines)
                reply(self.replies.get(".", "250 2.0.0 Ok: queued as Q1"))
            elif verb == "BDAT":
                self.octets += file.read(int(text.split()[1]))
                reply("250 2.0.0 Ok: queued as Q1" if text.endswith("LAST") else "250 2.0.0 Ok")
            elif verb == "QUIT":
                reply("221 2.0.0 Bye")
                return
            else:
                reply(self.replies.get(verb, "250 2.1.0 Ok"))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()


@pytest.fixture
def peer() -> Iterator[Callable[..., ScriptedServer]]:
    """`peer(offers, verb="reply")` starts one."""
    servers: list[ScriptedServer] = []

    def start(*offers: str, **replies: str) -> ScriptedServer:
        named = {"." if verb == "end" else verb.upper(): text for verb, text in replies.items()}
        servers.append(ScriptedServer(list(offers), named))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
