"""What a machine does to a render: full and read-only disks, killed workers, two commands at once, clocks and names.

Nothing that a manifest lists is ever damaged, nothing is silently missing, and the same command finishes.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gen.preview
import gen.status
from gen.verify import check_dataset
from shared.errors import run_command
from shared.shards.manifest import MANIFEST
from shared.shards.reader import Dataset
from tests.gen.watching import DEADLINE_SECONDS, poll, workers_of

ROOT = Path(__file__).parents[2]
SMALL = ("--patch", "76", "--rows-per-shard", "4")


def test_a_full_disk_fails_with_its_reason_and_more_space_finishes(small_disk, render, rendered, contents, capsys):
    """A shard has about 60 KB, the dataset 150 KB."""
    disk = small_disk("size=112k")
    assert run_command(lambda _: render(disk) and 0, []) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "Traceback" not in said
    folder = disk / "noise"
    assert not (folder / MANIFEST).exists()
    assert list(folder.rglob(".tmp-*")) == []
    subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
    assert contents(render(disk)) == contents(rendered)


def test_a_disk_that_fills_during_a_growth_keeps_what_is_listed(small_disk, render, contents, capsys):
    disk = small_disk("size=1m")
    before = contents(render(disk))
    used = sum(path.stat().st_blocks * 512 for path in disk.rglob("*"))
    subprocess.run(["mount", "-o", f"remount,size={used + 40_000}", str(disk)], check=True)
    assert run_command(lambda _: render(disk, "--count", "40") and 0, []) == 1
    assert "No space left on device" in capsys.readouterr().err
    after = contents(disk / "noise")
    assert {name: after[name] for name in before} == before
    assert check_dataset(disk / "noise").problems == []


def test_a_read_only_folder_is_an_error_in_words(small_disk, render, contents, capsys):
    disk = small_disk("size=1m")
    before = contents(render(disk))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    capsys.readouterr()
    assert run_command(lambda _: render(disk, "--count", "20") and 0, []) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"error: out is '{disk}': {disk} cannot be written to; give another folder"
    assert contents(disk / "noise") == before
    assert check_dataset(disk / "noise").problems == []  # and reading needs no writing
    assert gen.status.main([str(disk)]) == 0


def test_two_renders_at_once_make_one_dataset(start, render, rendered, contents, tmp_path):
    """Started together: one does the work, the other is refused or finds it done."""
    processes = [start(tmp_path, "--count", "10", "--workers", "2") for _ in range(2)]
    codes = sorted(process.wait(DEADLINE_SECONDS) for process in processes)
    assert codes in ([0, 1], [0, 0])
    assert contents(tmp_path / "noise") == contents(rendered)
    assert check_dataset(tmp_path / "noise").problems == []


def test_a_worker_killed_by_the_system_costs_its_shards_and_the_same_command_finishes(
    start, render, contents, tmp_path
):
    process = start(tmp_path / "out", "--count", "96", "--workers", "2")
    folder = tmp_path / "out" / "noise"
    poll(lambda: [*folder.glob("*.tar")] or process.poll() is not None)
    victims = workers_of(process.pid)
    assert victims
    os.kill(victims[0], signal.SIGKILL)
    assert process.wait(DEADLINE_SECONDS) == 1
    assert not (folder / MANIFEST).exists()
    (reason, *_) = folder.glob(".done/*.failed.json")
    assert "a worker was killed (out of memory?)" in reason.read_text()
    render(tmp_path / "out", "--count", "96")
    assert contents(folder) == contents(render(tmp_path / "undisturbed", "--count", "96"))


@pytest.mark.parametrize(
    "environment", [{"TZ": "Pacific/Kiritimati", "LC_ALL": "C"}, {"TZ": "America/Caracas", "LC_ALL": "tr_TR.UTF-8"}]
)
def test_clock_zone_and_locale_change_no_byte(environment, hr, rendered, contents, tmp_path):
    line = [sys.executable, "-m", "gen.render", "--subspace", "noise", "--hr", str(hr), "--out", str(tmp_path)]
    options = [*SMALL, "--count", "10", "--workers", "1"]
    environment = {**os.environ, **environment}
    subprocess.run(
        [*line, *options], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=DEADLINE_SECONDS
    )
    assert contents(tmp_path / "noise") == contents(rendered)


def test_a_clock_that_jumps_changes_no_byte_and_breaks_no_status(render, rendered, contents, tmp_path, monkeypatch):
    """Backwards at every look, and files from the future and from before 1970."""
    times = iter(range(10**9, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(times)))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(times)))
    folder = render(tmp_path)
    assert contents(folder) == contents(rendered)
    for number, path in enumerate(sorted(folder.rglob("*"))):
        os.utime(path, times=(2**33, 2**33) if number % 2 else (-(10**8), -(10**8)))
    assert gen.status.main([str(folder)]) == 0
    assert contents(render(tmp_path)) == contents(rendered)
    assert check_dataset(folder).problems == []


NAMES = ("with space.png", "ünïcødé 写真 \N{SNOWMAN}.png", "two\nlines.png", "tab\tand 'quotes\".png", "a|b`c$(d).png")


def test_any_file_name_passes_through_every_command(hr, render, picture, tmp_path):
    for seed, name in enumerate(NAMES):
        picture(tmp_path / "HR pictures\nof 写真" / name, seed)
    names = {str(path.name) for path in (tmp_path / "HR pictures\nof 写真").iterdir()}
    out = tmp_path / "out with space\nand ünïcode"
    for split, count in (("train", "24"), ("val", "4")):
        render(out, "--hr", str(tmp_path / "HR pictures\nof 写真"), "--split", split, "--count", count)
    seen = {Dataset(out / name)[row].row.hr_id for name in ("noise", "noise-val") for row in range(4)}
    assert seen <= names
    for name in ("noise", "noise-val"):
        report = check_dataset(out / name, rerender=4)
        assert (report.problems, len(report.good)) == ([], report.rows)
    assert gen.status.main([str(out)]) == 0
    assert gen.preview.main([str(out), "--out", str(tmp_path / "page ü\n.html")]) == 0
    listed = {photograph["id"] for photograph in Dataset(out / "noise").manifest.photographs}
    assert listed | {p["id"] for p in Dataset(out / "noise-val").manifest.photographs} == names
    checked = subprocess.run(
        ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=out / "noise", capture_output=True, check=False
    )
    assert checked.returncode == 0
