"""An S3-compatible server on loopback, and datasets that are rendered to it."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import gen.merge
import gen.preview
import gen.render
import gen.status
import gen.verify
from shared.storage.remote import Remote

SMALL = ("--patch", "76", "--rows-per-shard", "4", "--workers", "1")


class Store:
    """moto's S3 as a WSGI application that counts and may refuse uploads."""

    def __init__(self) -> None:
        from moto.server import DomainDispatcherApplication, create_backend_app

        self.application = DomainDispatcherApplication(create_backend_app)
        self.refuse: Callable[[str], bool] = lambda path: False
        self.puts: list[str] = []

    def __call__(self, environ: dict, start_response: Callable) -> object:
        if environ["REQUEST_METHOD"] == "PUT":
            self.puts.append(environ["PATH_INFO"])
            if self.refuse(environ["PATH_INFO"]):
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start_response("403 Forbidden", [("Content-Type", "application/xml")])
                return [b"<Error><Code>AccessDenied</Code><Message>quota exceeded</Message></Error>"]
        return self.application(environ, start_response)


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    """The server with a bucket `pairs`; the environment of this process and its children points to it."""
    s3fs = pytest.importorskip("s3fs", reason="the optional extra s3 is not installed")
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = Store()
    web = make_server("127.0.0.1", 0, store, threaded=True)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{web.server_port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "someone")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        with suppress(FileExistsError):  # of another module's server: moto keeps its buckets in this process
            s3fs.S3FileSystem().mkdir("pairs")
        yield store
        s3fs.S3FileSystem.clear_instance_cache()
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture
def store(server, staging, monkeypatch) -> Store:
    """The server, kind again, and a staging folder of the test's own."""
    server.puts.clear()
    server.refuse = lambda path: False
    monkeypatch.setattr("tempfile.tempdir", str(staging))
    monkeypatch.setenv("TMPDIR", str(staging))
    return server


@pytest.fixture
def staging(tmp_path_factory) -> Path:
    """A folder for temporary files whose path is short enough for the socket of the fork server."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def url(store, request) -> str:
    """A prefix of the bucket for one test."""
    return f"s3://pairs/{request.node.name.replace('[', '-').replace(']', '')}"


@pytest.fixture
def render_to(hr) -> Callable[..., Remote]:
    """render_to(url, *options) renders ten rows in three shards and gives the dataset."""

    def run(url: str, *options: str) -> Remote:
        line = ["--subspace", "noise", "--hr", str(hr), "--out", url, "--count", "10", *SMALL, *options]
        assert gen.render.main(line) == 0
        return Remote(url) / "noise"

    return run
