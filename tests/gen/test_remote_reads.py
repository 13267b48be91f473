"""Datasets behind a url are read from a bucket and from a plain web server: status, verify and preview."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import gen.merge
import gen.preview
import gen.render
import gen.status
import gen.verify
from gen.verify import check_dataset
from shared.errors import RunError, UsageError
from shared.shards.manifest import load_manifest
from shared.storage.places import place
from shared.storage.remote import Remote


@pytest.fixture
def web(rendered, tmp_path) -> Iterator[str]:
    """The dataset `rendered` behind a plain web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(rendered.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_status_says_that_the_web_cannot_be_listed(web):
    with pytest.raises(UsageError, match="what is behind http cannot be listed"):
        gen.status.main([f"{web}/noise"])


def test_a_manifest_is_read_from_the_web(web, rendered):
    assert load_manifest(place(f"{web}/noise/")) == load_manifest(rendered)
    with pytest.raises(RunError, match=r"no dataset at http.*manifest\.json is missing"):
        load_manifest(place(f"{web}/mild"))


def test_verify_says_what_keeps_it_from_the_web(web, capsys):
    for folder, reason in ((f"{web}/mild", "manifest.json is missing"), ("http://127.0.0.1:1/noise", "Cannot connect")):
        with pytest.raises(RunError, match="1 problems in 1 of 1 datasets"):
            gen.verify.main([folder])
        assert reason in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["bucket", "web"])
def test_verify_checks_what_is_behind_a_url(kind, request, url, rendered, web, capsys):
    folder = upload(rendered, Remote(f"{url}/noise")) if kind == "bucket" else Remote(f"{web}/noise")
    line = [url if kind == "bucket" else str(folder)]  # what is in a bucket can be listed
    assert gen.verify.main([*line, "--rerender", "4"]) == 0
    assert "rendered 4 rows again: 4 equal" in capsys.readouterr().out
    assert gen.verify.main([*line, "--quick"]) == 0
    assert "structure alone was checked: tars were not read" in capsys.readouterr().out
    report = check_dataset(folder)
    assert (report.problems, len(report.good)) == ([], 10)


def test_verify_finds_what_is_wrong_behind_a_url(url, rendered, tmp_path):
    folder = upload(rendered, Remote(f"{url}/noise"))
    first, second, third = (entry.url for entry in load_manifest(rendered).shardlist)
    data = bytearray((rendered / first).read_bytes())
    data[-1] ^= 1
    (folder / first).write(bytes(data))
    (folder / second).write((rendered / second).read_bytes()[:-512])
    (folder / third).with_suffix(".idx").unlink()
    report = check_dataset(folder)
    assert [text.partition(" is ")[0] for text in report.problems[:5]] == [
        f"{first}: sha256",
        f"{first}: md5sum",
        f"{second}: filesize",
        f"{second}: sha256",
        f"{second}: md5sum",
    ]
    assert len(report.good) == 10  # only what lies behind the last member is gone
    report = check_dataset(folder, quick=True)
    assert [text.partition(" is ")[0] for text in report.problems[:2]] == [
        f"{second}: filesize",
        f"{third[:-4]}.idx:",
    ]
    (folder / second).unlink()
    assert f"{second}: is missing, and 4 rows with it" in check_dataset(folder, quick=True).problems
    assert f"{second}: is missing, and 4 rows with it" in check_dataset(folder).problems


def upload(folder: Path, target: Remote) -> Remote:
    for path in folder.rglob("*.*"):
        if path.is_file() and path.name != ".lock":
            (target / path.relative_to(folder).as_posix()).write(path.read_bytes())
    (target / "SHA256SUMS").write((folder / "SHA256SUMS").read_bytes())
    return target


@pytest.mark.parametrize("kind", ["bucket", "web"])
def test_a_preview_of_what_is_behind_a_url_is_that_of_the_folder(kind, url, rendered, web, tmp_path):
    folder = upload(rendered, Remote(f"{url}/noise")) if kind == "bucket" else Remote(f"{web}/noise")
    pages = [tmp_path / "local.html", tmp_path / "remote.html"]
    for source, page in zip((rendered, folder), pages, strict=True):
        assert gen.preview.main([str(source), "--out", str(page), "--rows", "2"]) == 0
    assert pages[0].read_bytes() == pages[1].read_bytes()
