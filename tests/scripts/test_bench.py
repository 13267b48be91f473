"""The benchmarks' one command, and the training step's at a size of seconds."""

import json
import subprocess
import sys

import pytest

from scripts.bench.__main__ import BENCHMARKS, main
from scripts.bench.harness import Cost, cost_of, median_ratio, take_turns
from shared.errors import UsageError


def test_called_bare_it_lists_the_benchmarks(capsys):
    assert main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-len(BENCHMARKS) :]] == [*BENCHMARKS]


@pytest.mark.parametrize("argv", [["rendering"], ["render", "--row", "3"], ["train", "--steps", "many"]])
def test_wrong_usage_is_refused(argv):
    with pytest.raises(UsageError):
        main(argv)


@pytest.mark.parametrize(("package", "name"), [("bench", "degrade"), ("reproduce", "table1"), ("reproduce", "fig8")])
def test_wrong_usage_is_answered_before_anything_heavy_is_imported(package, name):
    code = (
        f"import sys; from scripts.{package}.__main__ import main; from shared.errors import run_command\n"
        f"code = run_command(main, ['{name}', '--nothing'])\n"
        "print(code, [name for name in ('torch', 'numba', 'cv2') if name in sys.modules])"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == "2 []", outcome.stderr


def test_sides_take_turns_and_a_ratio_is_the_median_over_turns():
    order = []
    taken = take_turns({name: lambda name=name: order.append(name) or len(order) for name in "ab"}, 3)
    assert order == ["a", "b"] * 3
    assert taken == {"a": [1, 3, 5], "b": [2, 4, 6]}
    assert median_ratio([6.0, 2.0, 8.0], [2.0, 2.0, 4.0]) == 2


def test_a_cost_has_wall_and_cpu_time():
    cost = cost_of(lambda: sum(range(2_000_000)))
    assert isinstance(cost, Cost)
    assert 0 < cost.cpu < cost.wall + 0.1


def test_the_loops_of_a_training_step_take_turns(tmp_path, capsys):
    sizes = ["--patch", "80", "--batch", "2", "--steps", "1", "--turns", "1", "--workers", "0"]
    network = ["--network.options.num_feat", "4", "--network.options.num_block", "1"]
    assert main(["train", *sizes, *network, "--out", str(tmp_path / "train.json")]) == 0
    found = json.loads((tmp_path / "train.json").read_text())
    assert list(found["loops"]) == ["plain fp32", "ours fp32", "ours bf16"]
    assert found["loops"]["plain fp32"]["plain / it"] == 1
    assert all(0 < loop["data wait, %"] < 100 for loop in found["loops"].values())
    assert "| plain fp32 |" in capsys.readouterr().out
