"""Datasets behind a url: rendered to an S3-compatible server on loopback, read from it and from a plain web server."""

import os
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path

import pytest

import gen.jobs
import gen.merge
import gen.preview
import gen.render
import gen.status
import gen.verify
from gen.dataset import DatasetPlan
from gen.specs import failed
from shared.errors import RunError, UsageError, run_command
from shared.shards.manifest import MANIFEST, load_manifest
from shared.storage.places import listing, read_bounded, read_files, staging_folder
from shared.storage.remote import Remote

ROOT = Path(__file__).parents[2]
SMALL = ("--patch", "76", "--rows-per-shard", "4", "--workers", "1")
DEADLINE_SECONDS = 60
slow = pytest.mark.slow


def contents_of(folder: Remote) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in listing(folder)}


def local_contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


def test_a_dataset_in_a_bucket_is_byte_for_byte_the_one_on_a_disk(store, url, render_to, rendered, staging):
    folder = render_to(url)
    assert contents_of(folder) == local_contents(rendered)
    names = [path.rpartition("/")[2] for path in store.puts]
    assert names[-5:] == ["config.yaml", "README.md", MANIFEST, "SHA256SUMS", "README.md"]
    endings = [name.rpartition(".")[2] for name in names[1:-5]]
    assert endings == ["tar", "idx", "json"] * 3  # each shard whole before the next, its record last
    assert [path for path in staging.rglob("*") if path.is_file() and path.name != ".lock"] == []


@pytest.mark.parametrize("size", [101, 6 << 20], ids=["in one piece", "in several"])
def test_a_file_of_a_store_is_read_up_to_its_limit(size, url):
    for file in (Remote(url) / "file", Remote(f"memory://{size}/file")):
        file.write(bytes(size))
        assert read_bounded(file, size) == file.read_bytes() == bytes(size)
        assert read_files([file, file.parent / "none"], size) == [bytes(size), None]
        for read in (partial(read_bounded, file), file.read_bytes, partial(read_files, [file])):
            with pytest.raises(OSError, match=f"file: more bytes are sent than the {size - 1} that it may have"):
                read(size - 1)


@pytest.mark.parametrize("pattern", ["", "/*.tar"], ids=["folder", "pattern"])
def test_hr_images_are_read_from_tars_in_a_bucket_by_workers(pattern, url, hr, command, tmp_path):
    tar = tmp_path / "photos" / "a.tar"
    tar.parent.mkdir()
    with tarfile.open(tar, "w") as archive:
        for path in sorted(hr.iterdir()):
            archive.add(path, path.name)
    (Remote(url) / "a.tar").upload(tar)
    manifests = []
    for photos in (url + pattern, str(tar.parent)):
        out = tmp_path / f"out{len(manifests)}"
        line = ["--subspace", "noise", "--hr", photos, "--out", str(out), "--count", "10", *SMALL, "--workers", "2"]
        result = command("gen.render", *line)  # its own process: workers have the environment of the first command
        assert result.returncode == 0, result.stderr
        manifests.append((out / "noise" / MANIFEST).read_bytes())
    assert manifests[0] == manifests[1]


def test_the_same_command_again_uploads_nothing_and_needs_no_local_state(store, url, render_to, tmp_path, monkeypatch):
    folder = render_to(url)
    before = contents_of(folder)
    store.puts.clear()
    elsewhere = tmp_path / "another machine"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    render_to(url)
    assert store.puts == []
    assert contents_of(folder) == before


def test_a_dataset_in_a_bucket_grows_and_loses_its_superseded_shard(store, url, render_to, render, tmp_path):
    folder = render_to(url)
    render_to(url, "--count", "13")
    on_disk = render(tmp_path / "out")
    render(tmp_path / "out", "--count", "13")
    assert contents_of(folder) == local_contents(on_disk)
    assert load_manifest(folder).generation == 2
    assert len(listing(folder / ".done")) == 1 + 4


@pytest.mark.parametrize(
    "refused", [1, 3, 11, 15, *(pytest.param(n, marks=slow) for n in (2, 4, 5, 6, 7, 8, 9, 10, 12, 13, 14))]
)
def test_a_refused_upload_at_any_point_leaves_the_truth_and_the_same_command_finishes(
    refused, store, url, render_to, rendered, capsys
):
    """The plan, three shards of three objects, four files around them, the card above: 15 uploads."""
    store.refuse = lambda path: len(store.puts) == refused
    folder = Remote(url) / "noise"
    assert run_command(lambda _: render_to(url) and 0, []) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert "quota exceeded" in said
    found = listing(folder)
    assert (MANIFEST in found) == (refused >= 14)
    if MANIFEST in found:
        assert all(found[entry.url].size == entry.filesize for entry in load_manifest(folder).shardlist)
    store.refuse = lambda path: False
    store.puts.clear()
    render_to(url)
    assert contents_of(folder) == local_contents(rendered)
    again = 3 if refused == 1 else 1 if refused <= 10 else 0  # shards: nothing, or one of them, had failed
    assert sum(path.endswith(".tar") for path in store.puts) == again
    assert gen.status.main([url]) == 0


def test_the_reason_of_a_failed_upload_is_stored_beside_the_data(store, url, render_to, capsys):
    store.refuse = lambda path: path.endswith("000001.tar")
    with pytest.raises(RunError, match="1 of 3 shards failed; run the same command again"):
        render_to(url)
    folder = Remote(url) / "noise"
    spec = DatasetPlan.load(folder).specs(folder)[1]
    assert failed(spec).reason == f"{spec.tar}: quota exceeded"
    capsys.readouterr()
    assert gen.status.main([url]) == 1
    said = capsys.readouterr().out
    assert "2 of 3 shards done; 1 failed, 0 pending; 6 of 10 rows" in said
    assert f"failed: {spec.name} (1 attempt)" in said


@pytest.mark.parametrize("after", [6, *(pytest.param(n, marks=slow) for n in (1, 2, 3, 4, 5, 8, 10, 12))])
def test_a_killed_render_to_a_bucket_finishes_to_the_same_bytes(after, store, url, render_to, rendered, hr):
    line = [sys.executable, "-m", "gen.render", "--subspace", "noise", "--hr", str(hr), "--out", url, "--count", "10"]
    process = subprocess.Popen(
        [*line, *SMALL[:-1], "2"],
        cwd=ROOT,
        env=dict(os.environ),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + DEADLINE_SECONDS
    while len(store.puts) < after and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    folder = Remote(url) / "noise"
    assert contents_of(render_to(url)) == local_contents(rendered)
    assert not [name for name in listing(folder) if name.startswith(".tmp")]
    assert [*staging_folder(folder).iterdir()] == [staging_folder(folder) / ".lock"]


def test_an_object_that_was_replaced_is_rendered_again(store, url, render_to, rendered):
    folder = render_to(url)
    name = load_manifest(folder).shardlist[1].url
    data = bytearray((folder / name).read_bytes())
    data[700] ^= 1
    (folder / name).write(bytes(data))  # the same size, another etag
    assert contents_of(render_to(url)) == local_contents(rendered)


def test_a_store_whose_etags_are_no_md5_is_read_back(store, url, render_to, rendered, monkeypatch):
    info = Remote.info
    monkeypatch.setattr(Remote, "info", lambda self: info(self)._replace(etag="0123-2"))
    downloads = []
    download = Remote.download
    monkeypatch.setattr(Remote, "download", lambda self, *a: downloads.append(self.name) or download(self, *a))
    folder = Remote(url) / "noise"
    with pytest.raises(RunError, match="3 of 3 shards are not finished"):
        render_to(url)  # the listing says another etag than the upload did: a store that lies is not believed
    assert [name[-4:] for name in downloads].count(".tar") == 3
    assert MANIFEST not in listing(folder)


def test_another_machine_that_was_quicker_is_left_alone(store, url, render_to, rendered, monkeypatch):
    """Two renders at once on two machines: who finishes a shard second throws his away."""
    import gen.shards

    write, meanwhile = gen.shards._write_tar, []

    def another_is_quicker(path, spec, on_row):
        if not meanwhile:
            meanwhile.append(spec.name)
            monkeypatch.setattr("tempfile.tempdir", None)
            gen.shards.render_shard(spec)
            store.puts.clear()
        return write(path, spec, on_row)

    monkeypatch.setattr(gen.shards, "_write_tar", another_is_quicker)
    assert contents_of(render_to(url)) == local_contents(rendered)
    assert not [path for path in store.puts if meanwhile[0] in path]


def test_a_render_that_would_shrink_what_another_has_committed_is_refused(store, url, render_to, monkeypatch):
    work = gen.jobs._run

    def another_grows_it_meanwhile(*arguments):
        unfinished = work(*arguments)
        monkeypatch.setattr(gen.jobs, "_run", work)
        monkeypatch.setattr("tempfile.tempdir", None)  # another machine: our lock does not reach it
        render_to(url, "--count", "15")
        return unfinished

    monkeypatch.setattr(gen.jobs, "_run", another_grows_it_meanwhile)
    with pytest.raises(RunError, match="another render has committed 15 rows meanwhile, more than 10"):
        render_to(url)
    assert load_manifest(Remote(url) / "noise").rows == 15


def test_parts_in_buckets_are_merged_in_a_folder(store, url, hr, rendered, tmp_path):
    for number, rows in enumerate(["0:8", "8:10"]):
        options = ["--subspace", "noise", "--hr", str(hr), "--out", f"{url}/{number}", "--rows", rows]
        assert gen.render.main([*options, *SMALL]) == 0
    assert gen.merge.main([str(tmp_path / "whole"), f"{url}/1/noise", f"{url}/0/noise"]) == 0
    assert local_contents(tmp_path / "whole") == local_contents(rendered)
    with pytest.raises(UsageError, match="parts are joined in a folder"):
        gen.merge.main([f"{url}/whole", f"{url}/0/noise"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["--out", "http://127.0.0.1:1/x"], "http is read-only"),
        (["--out", "nothing://x/y"], "cannot be opened here"),
    ],
)
def test_urls_that_cannot_be_written_are_refused_before_any_work(line, said, hr):
    with pytest.raises(UsageError, match=said):
        gen.render.main(["--hr", str(hr), *line])


def test_a_bucket_that_is_not_there_is_an_error_in_words(store, render_to, capsys):
    assert run_command(lambda _: render_to("s3://no-such-bucket/x") and 0, []) == 1
    said = capsys.readouterr().err
    assert "no such file or bucket" in said
    assert "no-such-bucket" in said
