"""Engines only say where shards are rendered: whatever is killed on the way, the bytes are those of `local`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import gen.engines.local
import gen.render
from gen.dataset import plan_dataset
from gen.engines import ENGINES, get_engine, slurm
from gen.recipe import Recipe
from gen.shards import render_shard
from gen.specs import ShardSpec, failed
from shared.errors import RunError, UsageError, run_command
from shared.photos.find import find_hr_images
from tests.gen.watching import DEADLINE_SECONDS, poll

ROOT = Path(__file__).parents[2]
COUNT = 48


@pytest.fixture(scope="module")
def expected(render, contents, tmp_path_factory) -> dict[str, str]:
    """What `local` makes of 48 rows in 12 shards."""
    return contents(render(tmp_path_factory.mktemp("local"), "--count", str(COUNT)))


@pytest.fixture
def specs(hr, tmp_path) -> list[ShardSpec]:
    """The same 12 shards, to give to an engine."""
    photos = find_hr_images(str(hr), "train", 76)
    recipe = Recipe("paper", "2x2", "noise", "train", photos.digest(), patch=76, rows_per_shard=4)
    return list(plan_dataset(tmp_path / "out", recipe, photos, COUNT).specs)


# local


class Worker:
    """Stands for `gen.shards.attempt` in a worker: the shards of `fatal` kill it, as the system does."""

    def __init__(self, fatal: set[int]) -> None:
        self.fatal = fatal

    def __call__(self, spec: ShardSpec):
        if spec.index in self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return gen.engines.local.attempt(spec, lambda: None)


def test_a_killed_local_worker_fails_the_shards_at_hand_alone(specs, monkeypatch):
    monkeypatch.setattr(gen.engines.local, "_attempt", Worker({5}))
    outcomes = list(get_engine("local").run(specs, 2, lambda rows: None))
    assert sorted(outcome.spec.index for outcome in outcomes) == list(range(12))
    bad = [outcome.spec for outcome in outcomes if not outcome.done]
    assert 5 in {spec.index for spec in bad}
    assert len(bad) <= 3  # two at work and one that waits for them
    assert {failed(spec).reason for spec in bad} == {"a worker was killed (out of memory?)"}


def test_local_workers_that_are_always_killed_are_not_replaced_for_ever(specs, monkeypatch):
    monkeypatch.setattr(gen.engines.local, "_attempt", Worker(set(range(12))))
    outcomes = list(get_engine("local").run(specs, 2, lambda rows: None))
    assert sorted(outcome.spec.index for outcome in outcomes) == list(range(12))
    begun = [outcome for outcome in outcomes if outcome.reason == "a worker was killed (out of memory?)"]
    assert 1 <= len(begun) <= 2 * 3  # two at work and one that waits for them, twice
    assert all("not begun" in outcome.reason and not failed(outcome.spec) for outcome in outcomes[len(begun) :])


def test_a_rerun_tries_only_failed_and_missing_shards(hr, render, contents, expected, tmp_path, monkeypatch, capsys):
    attempted = []

    def fails(*numbers):
        def render_or_fail(spec, on_row):
            attempted.append(spec.index)
            if spec.index in numbers:
                raise RunError(f"no luck with {spec.index}")
            return render_shard(spec, on_row)

        return render_or_fail

    options = ["--count", str(COUNT)]
    for numbers, tried in [((2, 7), [*range(12)]), ((7,), [2, 7])]:
        monkeypatch.setattr("gen.shards.render_shard", fails(*numbers))
        with pytest.raises(RunError, match=f"{len(numbers)} of {len(tried)} shards failed; run the same command again"):
            render(tmp_path, *options)
        assert attempted == tried
        said = capsys.readouterr().err
        assert all(f"no luck with {number}" in said for number in numbers)
        attempted.clear()
    (record,) = (tmp_path / "noise" / ".done").glob("*.failed.json")
    assert json.loads(record.read_bytes()) == {"attempts": 2, "reason": "no luck with 7"}
    monkeypatch.setattr("gen.shards.render_shard", render_shard)
    assert contents(render(tmp_path, *options)) == expected
    assert list((tmp_path / "noise" / ".done").glob("*.failed.json")) == []


# slurm


@pytest.fixture
def scheduler(tmp_path, monkeypatch) -> Path:
    """`sbatch` and `squeue` on PATH: the first notes what it was given, the second lists the jobs in a file."""
    folder = tmp_path / "scheduler"
    folder.mkdir()
    submit = f'echo "$@" >> {folder}/submitted; echo 4242 | tee -a {folder}/queue'
    look = f'grep -x -- "$3" {folder}/queue'  # squeue --noheader --jobs N
    for name, line in {"sbatch": submit, "squeue": look}.items():
        (folder / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def element(script: Path, number: int) -> subprocess.Popen:
    """An element of the array, started as the scheduler starts it: from another folder, with its number."""
    environment = {**os.environ, "SLURM_ARRAY_TASK_ID": str(number)}
    return subprocess.Popen(
        ["bash", str(script)],
        env=environment,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_a_slurm_array_with_a_killed_and_requeued_element(render, contents, expected, scheduler, tmp_path):
    options = ["--count", str(COUNT), "--engine", "slurm", "--workers", "2"]
    with pytest.raises(RunError, match="12 of 12 shards are not rendered yet and wait for Slurm job 4242; look with"):
        render(tmp_path / "out", *options)
    (script,) = (tmp_path / "out" / ".slurm").glob("*/array.sh")
    assert (scheduler / "submitted").read_text() == f"--parsable {script}\n"
    assert {"#SBATCH --array=0-1", "#SBATCH --requeue"} <= set(script.read_text().splitlines())
    folder = tmp_path / "out" / "noise"
    with pytest.raises(RunError, match="wait for Slurm job 4242"):
        render(tmp_path / "out", *options)  # nothing is submitted twice
    assert (scheduler / "submitted").read_text().count("\n") == 1

    first, second = (element(script, number) for number in range(2))
    poll(lambda: [*folder.glob("*.tar")] or first.poll() is not None)
    os.killpg(first.pid, signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    again = element(script, 0)
    for process in (second, again):
        said, _ = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, said
        assert said.count(": done") == 6
    first.stdout.close()
    assert not (folder / "manifest.json").exists()
    (scheduler / "queue").write_text("")
    assert contents(render(tmp_path / "out", *options)) == expected
    assert list(folder.rglob(".tmp-*")) == []


def test_without_sbatch_the_command_is_said(hr, render, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunError, match=r"wait for you: there is no sbatch here, so run `sbatch .*/array\.sh`"):
        render(tmp_path / "out", "--engine", "slurm")


def test_a_refused_submission_is_an_error_and_a_rerun_submits_again(render, scheduler, tmp_path):
    working = (scheduler / "sbatch").read_text()
    (scheduler / "sbatch").write_text("#!/bin/sh\necho 'no such partition' >&2; exit 1\n")
    with pytest.raises(RunError, match=r"sbatch refused .*array\.sh: no such partition"):
        render(tmp_path / "out", "--engine", "slurm")
    (scheduler / "sbatch").write_text(working)
    with pytest.raises(RunError, match="3 of 3 shards are not rendered yet and wait for Slurm job 4242"):
        render(tmp_path / "out", "--engine", "slurm")


def test_only_shards_that_no_queued_array_has_are_submitted(specs, scheduler):
    list(slurm.run(specs[:8], 4, lambda rows: None))
    outcomes = list(slurm.run(specs, 4, lambda rows: None))
    assert {outcome.waits_for for outcome in outcomes} == {"Slurm job 4242"}
    assert sorted(outcome.spec.index for outcome in outcomes) == list(range(12))
    home = Path(specs[0].folder).parent / ".slurm"
    lists = [slurm.read_todo(path.read_bytes()) for path in home.glob("*/todo.jsonl")]
    assert sorted([spec.index for spec in todo] for todo in lists) == [[*range(8)], [*range(8, 12)]]


def test_a_todo_list_gives_the_same_specifications(specs):
    odd = replace(specs[0].photographs[0], path="/hr/\udcff\n\N{SNOWMAN}.png")  # a file name that is not UTF-8
    specs = [replace(spec, photographs=(odd, *spec.photographs[1:])) for spec in specs]
    others = [replace(spec, folder=f"{spec.folder}-b") for spec in specs[:3]]
    data = slurm.write_todo([*specs, *others])
    assert slurm.read_todo(data) == [*specs, *others]
    assert data.count(b"\n") == 12 + 3 + 2  # photographs once a dataset


def test_the_elements_of_an_array_share_all_shards(specs, tmp_path):
    (tmp_path / "todo.jsonl").write_bytes(slurm.write_todo(specs))
    for number in range(5):
        assert slurm.main([str(tmp_path / "todo.jsonl"), str(number), "5"]) == 0
        assert len(list(Path(specs[0].folder).glob("*.tar"))) == len([i for i in range(12) if i % 5 <= number])


def test_an_element_reports_its_failures(specs, tmp_path, capsys):
    gone = [replace(photo, path=f"{photo.path}.gone") for photo in specs[0].photographs]
    (tmp_path / "todo.jsonl").write_bytes(
        slurm.write_todo([replace(spec, photographs=tuple(gone)) for spec in specs[:2]])
    )
    assert run_command(slurm.main, [str(tmp_path / "todo.jsonl"), "0", "1"]) == 1
    captured = capsys.readouterr()
    assert "2 of 2 shards failed" in captured.err
    assert captured.out.count("cannot be read now") == 2
    assert "cannot be read now" in failed(specs[0]).reason


@pytest.mark.parametrize(
    ("text", "index", "said"),
    [
        ("", "2", "index is 2: it must be 0 or more and below count, which is 2"),
        ('{"index": 0, "rows": 4}', "0", "no todo list of this program"),
        ("[1]", "0", "no todo list of this program"),
        ("half a li", "0", "cannot be read"),
        (None, "0", "cannot be read"),
    ],
)
def test_an_element_refuses_what_is_no_todo_list(text, index, said, tmp_path):
    if text is not None:
        (tmp_path / "todo.jsonl").write_text(text)
    with pytest.raises(UsageError, match=said):
        slurm.main([str(tmp_path / "todo.jsonl"), index, "2"])


HOLD = """
import sys
from pathlib import Path
from gen.engines.slurm import _one_of_many_writers
with _one_of_many_writers(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_render_does_not_sweep_while_elements_are_at_work(render, tmp_path):
    """Two elements write side by side; a render is refused until both have ended."""
    line = [sys.executable, "-c", HOLD, str(tmp_path / "noise")]
    elements = [
        subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [element.stdout.readline() for element in elements] == ["held\n"] * 2
    for element in elements:
        with pytest.raises(RunError, match="is being written by another process"):
            render(tmp_path)
        element.communicate(timeout=DEADLINE_SECONDS)
    render(tmp_path)


# ray


@pytest.fixture
def cluster() -> Iterator:
    """A head that renders nothing and two nodes of one core each; the test is connected to it."""
    ray = pytest.importorskip("ray", reason="the optional extra ray is not installed")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster, nodes
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_ray_cluster_that_loses_a_node(cluster, specs, render, contents, expected, tmp_path):
    nodes = cluster[1]
    rows: list[int] = []
    outcomes = []
    for outcome in get_engine("ray").run(specs, 2, rows.append):
        outcomes.append(outcome)
        if len(outcomes) == 2:
            cluster[0].remove_node(nodes[0], allow_graceful=False)
    assert [outcome.reason for outcome in outcomes] == [""] * 12
    assert sorted(outcome.spec.index for outcome in outcomes) == list(range(12))
    assert sum(rows) == COUNT
    assert contents(render(tmp_path / "out", "--count", str(COUNT), "--engine", "ray")) == expected


def test_an_engine_that_is_not_installed_is_refused_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr("gen.engines.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"engine 'ray' needs the package 'ray'.*realsr-rebalance\[ray\]"):
        gen.render.main(["--engine", "ray", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


# all


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dry_run_says_what_it_takes_with_any_engine(engine, hr, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gen.engines.find_spec", lambda name: True)
    monkeypatch.setattr(gen.render, "_calibrate", lambda spec: (0.009, 120e3))
    monkeypatch.setattr(gen.render, "_num_cores", lambda: 2)
    options = ["--count", "1000000", "--patch", "76", "--subspace", "noise", "--engine", engine, "--workers", "100"]
    assert gen.render.main(["--hr", str(hr), "--out", str(tmp_path / "out"), *options, "--dry-run"]) == 0
    said = capsys.readouterr().out.splitlines()[-2]
    assert said.startswith("to render: 1000000 rows in 2000 shards, about 120 GB, 2.5 core hours; ")
    # 2000 shards of 4.5 s: 1000 turns of 2 cores, 20 turns of 100
    wall = "75 min" if engine == "local" else "90 s"
    assert f"{wall} with --engine {engine} on 100 workers" in said
    assert not (tmp_path / "out").exists()


def test_command_line_of_an_element(specs, tmp_path):
    """No warning: the module is not imported before it is run."""
    (tmp_path / "todo.jsonl").write_bytes(slurm.write_todo(specs[:1]))
    line = [sys.executable, "-W", "error", "-m", "gen.engines.slurm", str(tmp_path / "todo.jsonl"), "0", "1"]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{specs[0].name}: done\n"
