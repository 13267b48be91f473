"""An S3-compatible server on loopback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shared.storage.remote import Remote


@contextmanager
def serving_bucket(name: str) -> Iterator[dict[str, str]]:
    """A server with an empty bucket, and the environment that leads to it, which is set meanwhile."""
    s3fs = pytest.importorskip("s3fs", reason="the optional extra s3 is not installed")
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    env = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "something",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    try:
        with pytest.MonkeyPatch.context() as patch:
            for key, value in env.items():
                patch.setenv(key, value)
            s3fs.S3FileSystem.clear_instance_cache()
            s3fs.S3FileSystem().mkdir(name)
            yield env
            s3fs.S3FileSystem.clear_instance_cache()
    finally:
        server.stop()


def upload(shards: Path, url: str) -> None:
    """Put datasets into a bucket, without what lies in hidden folders."""
    for folder in shards.iterdir():
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_file() and not path.name.startswith("."):
                (Remote(url) / folder.name / path.name).upload(path)
