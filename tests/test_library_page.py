"""The examples of docs/library.md run as they stand, in a folder that has modules with the names of ours."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gen.render import main as render

PAGE = Path(__file__).parents[1] / "docs" / "library.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
LIMIT_SECONDS = 300


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder with shards, and with modules whose names hide ours."""
    folder = tmp_path_factory.mktemp("user")
    for name in ("train.py", "gen.py", "shared/__init__.py", "scripts/__init__.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("raise ImportError('this is not the module that was meant')")
    sizes = ["--patch", "76", "--count", "12", "--workers", "1"]
    render(["--subspace", "all", "--out", str(folder / "shards"), *sizes])
    return folder


def run(line: list[str], folder: Path) -> str:
    """The output of a command that succeeds without a warning."""
    environment = {**os.environ, "PYTHONWARNINGS": "error:::realsr_rebalance", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        line, cwd=folder, env=environment, timeout=LIMIT_SECONDS, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_are_five_short_examples() -> None:
    assert len(EXAMPLES) == 5
    assert all(len(example.strip().split("\n")) <= 15 for example in EXAMPLES)


def test_examples_run_in_one_process(folder: Path) -> None:
    plain = [example for example in EXAMPLES if "distributed" not in example]
    (folder / "example.py").write_text("\n".join(plain))
    said = run([sys.executable, "example.py"], folder).split("\n")
    assert said[0] == "12 (76, 76, 3) (19, 19, 3)"
    assert said[2:4] == ["[96, 0, 144, 0]", "[0, 0, 120, 120]"]
    assert sum(map(int, said[6].strip("[]").split(","))) == 240_000


def test_the_example_of_several_ranks_runs_under_torchrun(folder: Path) -> None:
    (example,) = (example for example in EXAMPLES if "distributed" in example)
    (folder / "train_ranks.py").write_text(example)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    run([*launcher, "train_ranks.py"], folder)
