"""A web server on loopback that serves a folder, and misbehaves where a test says so."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[SimpleHTTPRequestHandler, bytes], None]
"""Answers a GET for a file with these bytes."""


def whole(handler: SimpleHTTPRequestHandler, data: bytes) -> None:
    """As it should be."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def unavailable(handler: SimpleHTTPRequestHandler, data: bytes) -> None:
    """503: later perhaps."""
    handler.send_error(503)


def gone(handler: SimpleHTTPRequestHandler, data: bytes) -> None:
    """404."""
    handler.send_error(404)


def cut_off(handler: SimpleHTTPRequestHandler, data: bytes) -> None:
    """All of it is promised, half of it is sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data[: len(data) // 2])
    handler.close_connection = True


def flipped(handler: SimpleHTTPRequestHandler, data: bytes) -> None:
    """One bit is another."""
    middle = len(data) // 2
    whole(handler, data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])


def slow(handler: SimpleHTTPRequestHandler, data: bytes) -> None:
    """In many small pieces, each on its way before the next is sent."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    for first in range(0, len(data), 999):
        handler.wfile.write(data[first : first + 999])
        handler.wfile.flush()


def endless(handler: SimpleHTTPRequestHandler, data: bytes) -> None:
    """Ever more, until the other side hangs up."""
    handler.send_response(200)
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.wfile.write(bytes(1 << 16))


class Web:
    """The server. answers: how the next GETs of a file are answered, by its name; after those, and others, as usual.

    missing: names of files that are not there.
    """

    def __init__(self, folder: Path) -> None:
        web = self
        self.gets: list[str] = []
        self.answers: dict[str, list[Answer]] = {}
        self.missing: set[str] = set()

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                if self.path.rpartition("/")[2] in web.missing:
                    self.send_error(404)
                else:
                    super().do_HEAD()

            def do_GET(self) -> None:
                path = folder / self.path.lstrip("/")
                web.gets.append(path.name)
                if not path.is_file() or path.name in web.missing:
                    self.send_error(404)
                    return
                waiting = web.answers.get(path.name, [])
                try:
                    (waiting.pop(0) if waiting else whole)(self, path.read_bytes())
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@contextmanager
def serving(folder: Path) -> Iterator[Web]:
    """Serve a folder for a while."""
    web = Web(folder)
    try:
        yield web
    finally:
        web.close()
