"""Places as they are: file systems without locks, copies, endless servers, shared temporary folders, passwords."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import gen.merge
import gen.render
import gen.shards
import gen.status
import gen.verify
import shared.storage.atomic
from gen.engines import slurm
from shared.errors import RunError, UsageError, run_command
from shared.shards.manifest import MANIFEST
from shared.storage.atomic import locked, sync_folder
from shared.storage.places import read_bounded, read_files
from shared.storage.remote import Remote
from shared.text import without_password

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t"


def failing(number: int) -> Callable:
    def call(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


# file systems


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_work_goes_on_and_it_is_said_once(
    number, render, contents, rendered, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("fcntl.lockf", failing(number))
    shared.storage.atomic.note_missing_locks.cache_clear()
    for _ in range(2):
        folder = render(tmp_path)
    assert capsys.readouterr().err.count("lies on a file system without locks: let only one command write to it") == 1
    assert contents(folder) == contents(rendered)


def test_without_locks_what_another_writes_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.lockf", failing(errno.ENOLCK))
    (tmp_path / ".tmp-other-1-x.tar").touch()
    with locked(tmp_path, "a test"):
        pass
    assert (tmp_path / ".tmp-other-1-x.tar").exists()


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES])
def test_only_a_held_lock_means_that_somebody_writes(number, tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.lockf", failing(number))
    with pytest.raises(RunError, match="is being written by another process"), locked(tmp_path, "a test"):
        pass
    monkeypatch.setattr("fcntl.lockf", failing(errno.EIO))
    with pytest.raises(RunError, match="cannot be locked: Input/output error"), locked(tmp_path, "a test"):
        pass


def test_a_folder_that_cannot_be_synced_is_no_error(tmp_path, monkeypatch):
    for number in (errno.EINVAL, errno.EOPNOTSUPP):
        monkeypatch.setattr("os.fsync", failing(number))
        sync_folder(tmp_path)
    monkeypatch.setattr("os.fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)


# copies


@pytest.mark.parametrize("kept", ["nothing", "plan"])
def test_a_copy_without_records_grows_and_renders_only_what_is_new(
    kept, rendered, render, contents, tmp_path, monkeypatch
):
    folder = shutil.copytree(rendered, tmp_path / "copy" / "noise")
    for record in (folder / ".done").iterdir():
        if kept == "nothing" or record.name != "plan.json":
            record.unlink()
    seen = []
    render_shard = gen.shards.render_shard
    monkeypatch.setattr("gen.shards.render_shard", lambda spec, *a: seen.append(spec.index) or render_shard(spec, *a))
    assert contents(render(tmp_path / "copy")) == contents(rendered)
    assert seen == []
    render(tmp_path / "copy", "--count", "18")
    assert seen == [2, 3, 4]  # the last shard was short
    assert gen.status.main([str(folder)]) == 0
    monkeypatch.undo()
    expected = shutil.copytree(rendered, tmp_path / "whole" / "noise").parent
    assert contents(folder) == contents(render(expected, "--count", "18"))


def test_a_shard_that_the_copy_lacks_or_cut_is_rendered_again(rendered, render, contents, tmp_path):
    folder = shutil.copytree(rendered, tmp_path / "copy" / "noise")
    shutil.rmtree(folder / ".done")
    first, second, third = sorted(folder.glob("*.tar"))
    first.unlink()
    os.truncate(second, 1000)
    third.with_suffix(".idx").unlink()
    assert gen.status.main([str(folder)]) == 1
    assert contents(render(tmp_path / "copy")) == contents(rendered)


def test_progress_as_json(rendered, tmp_path, capsys):
    assert gen.status.main([str(rendered), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {name: said[name] for name in ("shards", "shards_done", "rows", "rows_done", "committed", "failed")} == {
        "shards": 3,
        "shards_done": 3,
        "rows": 10,
        "rows_done": 10,
        "committed": True,
        "failed": {},
    }
    folder = shutil.copytree(rendered, tmp_path / "noise")
    next(folder.glob("*.tar")).unlink()
    assert gen.status.main([str(folder), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["shards_done"] == 2


# servers


class Server:
    """A web server on loopback. endless: endings of names whose files never end. moved: redirects by name."""

    def __init__(self, folder: Path) -> None:
        server = self
        self.endless: tuple[str, ...] = ()
        self.moved: dict[str, str] = {}
        self.authorised: set[str | None] = set()
        self.sent = 0

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                server.authorised.add(self.headers["Authorization"])
                name = self.path.rpartition("/")[2]
                if name in server.moved:
                    self.send_response(302)
                    self.send_header("Location", server.moved[name])
                    self.end_headers()
                elif server.endless and name.endswith(server.endless):
                    self.send_response(200)
                    self.end_headers()
                    self.close_connection = True
                    try:
                        while True:
                            server.sent += self.wfile.write(b"v1.2 1\n" * (1 << 13))
                    except (BrokenPipeError, ConnectionResetError):
                        pass
                else:
                    super().do_GET()

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.http.daemon_threads = True
        self.host = f"127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(dataset) -> Iterator[Server]:
    server = Server(dataset.parent)
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.mark.parametrize(
    ("endless", "said"),
    [
        (".idx", "more bytes are sent than"),
        (".tar", "more bytes are sent than"),
        ("SHA256SUMS", "more bytes are sent than"),
        ("README.md", "more bytes are sent than"),
    ],
)
def test_a_check_of_a_url_reads_no_more_than_the_manifest_says(endless, said, server, monkeypatch, capsys):
    for read in (Remote.read_bytes, read_files):
        monkeypatch.setattr(read, "__defaults__", (1 << 20,))
    server.endless = (endless,)
    assert run_command(gen.verify.main, [f"http://{server.host}/noise"]) == 1
    assert said in capsys.readouterr().out
    assert server.sent < 64 << 20


def test_an_endless_index_is_bounded_in_a_quick_check_too(server, capsys):
    server.endless = (".idx",)
    assert run_command(gen.verify.main, [f"http://{server.host}/noise", "--quick"]) == 1
    assert capsys.readouterr().out.count("more bytes are sent than") == 3


def test_a_range_of_a_server_that_knows_none_costs_no_more_than_the_range(server):
    server.endless = ("x.tar",)
    assert Remote(f"http://{server.host}/x.tar").read_range(7, 14) == b"v1.2 1\n"
    with pytest.raises(OSError, match="more bytes are sent than the 100 "):
        read_bounded(Remote(f"http://{server.host}/x.tar"), 100)
    assert server.sent < 64 << 20


def test_redirects_lead_to_no_local_address_of_another_name(server):
    port = server.host.partition(":")[2]
    server.moved = {"here": "/noise/manifest.json", "there": f"http://localhost:{port}/noise/manifest.json"}
    assert Remote(f"http://{server.host}/here").read_bytes().startswith(b"{")
    with pytest.raises(OSError, match="redirects to localhost, a local address"):
        Remote(f"http://{server.host}/there").read_bytes()
    with pytest.raises(OSError, match="redirects to localhost, a local address"):
        Remote(f"http://{server.host}/there").download(Path(os.devnull))


# secrets


def test_a_password_in_a_url_is_used_and_never_shown(server, dataset, tmp_path, capsys):
    url = f"http://me:{SECRET}@{server.host}/noise"
    assert gen.verify.main([url]) == 0
    assert None not in server.authorised
    next(dataset.glob("*.tar")).unlink()
    assert run_command(gen.verify.main, [url]) == 1
    assert run_command(gen.verify.main, [f"{url}-none"]) == 1
    assert run_command(gen.status.main, [url]) == 2
    assert run_command(gen.merge.main, [str(tmp_path / "out"), url]) == 1
    assert run_command(gen.render.main, ["--out", url]) == 2
    captured = capsys.readouterr()
    assert "me:***@127.0.0.1" in captured.out
    assert SECRET not in captured.out + captured.err
    assert SECRET not in str(Remote(url)) + repr(Remote(url)) + str(Remote(url) / MANIFEST)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://a:b@host/x", "https://a:***@host/x"),
        ("see s3://key:p@ss@bucket/x, or https://host/a:b@c", "see s3://key:***@bucket/x, or https://host/a:b@c"),
        ("https://host:8080/x", "https://host:8080/x"),
        ("https://token@host/x", "https://***@host/x"),
        ("https://host/x?y=1&X-Amz-Signature=ab%2Fc&z=2", "https://host/x?y=1&X-Amz-Signature=***&z=2"),
        (
            "'https://host/x?token=abc' and https://host/x?sig=d, a?key=b",
            "'https://host/x?token=***' and https://host/x?sig=***, a?key=b",
        ),
    ],
)
def test_passwords_are_masked_in_any_text(text, shown):
    assert without_password(text) == shown


# what is executed, and what is printed


@pytest.mark.parametrize("name", ["a\n touch evil", "a\rb", "a\x1b[2J"])
def test_a_path_with_a_line_break_is_in_no_batch_script(name, hr, tmp_path, capsys):
    options = ["--subspace", "noise", "--hr", str(hr), "--patch", "76", "--count", "4", "--engine", "slurm"]
    assert run_command(gen.render.main, [*options, "--out", str(tmp_path / name)]) == 2
    assert "has a character that no batch script may hold" in capsys.readouterr().err
    assert [*tmp_path.rglob("array.sh")] == []


def test_a_batch_script_names_odd_paths_as_they_are(tmp_path):
    folder = tmp_path / "100% 'mine' $(touch evil)"
    script = slurm.array_script(folder, 2)
    assert "100%% " in script
    with pytest.raises(UsageError, match="no batch script"):
        slurm.array_script(Path("a\nb"), 2)
    folder.mkdir()
    (folder / "todo.jsonl").touch()
    (tmp_path / "array.sh").write_text(script.replace("gen.engines.slurm", "json.tool"))
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": "0"}
    subprocess.run(
        ["/bin/bash", tmp_path / "array.sh"], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert not (tmp_path / "evil").exists()


def test_any_name_can_be_printed_in_a_narrow_locale(picture, tmp_path):
    picture(tmp_path / "\N{SNOWMAN}" / "p.png", 1)
    line = [
        sys.executable,
        "-m",
        "gen.render",
        "--hr",
        str(tmp_path / "\N{SNOWMAN}"),
        "--out",
        str(tmp_path / "\N{SNOWMAN}o"),
    ]
    line += ["--subspace", "noise", "--count", "1", "--patch", "76", "--workers", "1", "--split", "val"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    ended = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert rb"\u2603o/noise-val: 1 row in 1 shard" in ended.stdout


def test_few_open_files_are_enough(hr, tmp_path):
    options = ["--subspace", "noise", "--hr", str(hr), "--patch", "76", "--count", "70", "--rows-per-shard", "1"]
    for words in (
        ["gen.render", *options, "--out", str(tmp_path), "--workers", "1"],
        ["gen.preview", str(tmp_path / "noise"), "--out", str(tmp_path / "page.html")],
        ["gen.verify", str(tmp_path), "--workers", "1"],
    ):
        line = ["/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh", sys.executable, "-m", *words]
        ended = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
