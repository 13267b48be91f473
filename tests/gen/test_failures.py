"""A shard that fails says why and fails alone; what is finished stays."""

import os
import subprocess
import sys

import pytest

import gen.render
from shared.errors import RunError, run_command
from shared.photos.crops import draw_crops
from shared.photos.find import find_hr_images

COUNT = 40


@pytest.fixture
def own_hr(hr, tmp_path):
    folder = tmp_path / "hr"
    folder.mkdir()
    for path in hr.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def shards_with(name, hr):
    photographs = find_hr_images(str(hr), "train", 76).photographs
    crops = draw_crops(photographs, range(COUNT), seed=0, subspace="noise", split="train", patch=76)
    return {row // 4 for row, crop in enumerate(crops) if crop.photograph.id == name}


@pytest.mark.parametrize("accident", ["changed", "removed"])
def test_a_photograph_that_changes_fails_its_shards_alone(
    accident, own_hr, render, contents, tmp_path, monkeypatch, capsys
):
    victim = find_hr_images(str(own_hr), "train", 76).photographs[0]
    expected = shards_with(victim.id, own_hr)
    assert 0 < len(expected) < 10
    data, announce = (own_hr / victim.id).read_bytes(), gen.render._announce

    def accident_after_listing(*arguments):
        announce(*arguments)
        (own_hr / victim.id).unlink() if accident == "removed" else (own_hr / victim.id).write_bytes(data + b"0")

    options = ["--hr", str(own_hr), "--count", str(COUNT)]
    with monkeypatch.context() as patch:
        patch.setattr(gen.render, "_announce", accident_after_listing)
        with pytest.raises(RunError, match=f"{len(expected)} of 10 shards failed; run the same command again"):
            render(tmp_path / "out", *options)
    folder = tmp_path / "out" / "noise"
    words = "has changed since it was listed" if accident == "changed" else "was listed but cannot be read now"
    failures = [line for line in capsys.readouterr().err.splitlines() if "failed: " in line]
    assert len(failures) == len(expected)
    assert all(words in line and victim.id in line for line in failures)
    done = {int(path.stem.split("-")[3]) for path in folder.glob("*.tar")}
    assert done == set(range(10)) - expected
    assert not (folder / "manifest.json").exists()
    assert list(folder.rglob(".tmp-*")) == []
    (own_hr / victim.id).write_bytes(data)
    render(tmp_path / "out", *options)
    assert contents(folder) == contents(render(tmp_path / "undisturbed", *options))


def test_a_failed_growth_leaves_the_dataset_as_it_was(own_hr, render, contents, tmp_path, monkeypatch):
    folder = render(tmp_path / "out", "--hr", str(own_hr))
    before = contents(folder)
    monkeypatch.setattr("shared.photos.photo_cache.read", lambda photograph: (_ for _ in ()).throw(RunError("gone")))
    monkeypatch.setattr(gen.render, "_calibrate", lambda spec: (0.0, 0.0))
    with pytest.raises(RunError, match="2 of 2 shards failed"):
        render(tmp_path / "out", "--hr", str(own_hr), "--count", "13")
    assert contents(folder) == before


@pytest.mark.parametrize("limit", [5_000, 30_000])
def test_a_disk_that_takes_no_more_leaves_nothing_half_written(limit, hr, render, tmp_path, contents):
    """The limit on file size stands for a full disk; a shard has about 60 000 bytes."""
    code = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    code += "; runpy.run_module('gen.render', run_name='__main__')"
    options = ["--subspace", "noise", "--hr", str(hr), "--out", str(tmp_path), "--count", "10"]
    options += ["--patch", "76", "--rows-per-shard", "4", "--workers", "1"]
    result = subprocess.run([sys.executable, "-c", code, *options], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr
    files = [path for path in (tmp_path / "noise").rglob("*") if path.is_file() and path.name != ".lock"]
    shards = [path for path in files if path.name != "plan.json" and not path.name.endswith(".failed.json")]
    assert all(path.stem.endswith("-n00002") for path in shards)  # the short shard may fit below the limit
    assert not (tmp_path / "noise" / "manifest.json").exists()
    assert contents(render(tmp_path)) == contents(render(tmp_path / "undisturbed"))


@pytest.mark.parametrize("function", ["os.fsync", "shared.storage.atomic.os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_at_any_step_is_a_failure_and_not_a_traceback(function, render, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(function, full)
        code = run_command(lambda _: render(tmp_path) and 0, [])
    assert code == 1
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "noise").rglob("*") if path.is_file()] == [".lock"]


def test_a_disk_that_lies_is_noticed_before_the_rename(render, tmp_path, monkeypatch, capsys):
    def turn_a_bit(descriptor):
        if os.fstat(descriptor).st_size > 10_000:  # a tar
            os.pwrite(descriptor, bytes([os.pread(descriptor, 1, 5000)[0] ^ 1]), 5000)

    monkeypatch.setattr(os, "fsync", turn_a_bit)
    with pytest.raises(RunError, match="3 of 3 shards failed"):
        render(tmp_path)
    assert "reads back differently from what was written: check the disk" in capsys.readouterr().err
    assert list((tmp_path / "noise").glob("*.tar")) == []
