"""The installed package: built as a wheel, and used in a folder whose own modules bear the names of ours."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEADLINE_SECONDS = 120
SMALL = ("--subspace", "noise", "--count", "4", "--rows-per-shard", "1", "--patch", "76")
STRANGERS = ("train.py", "gen.py", "shared/__init__.py", "scripts/__init__.py")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment in which the wheel lies beside the packages of this one."""
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    ignored = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    for name in ("gen", "shared", "train"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    options = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *options, "-w", folder, source], check=True, capture_output=True)
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    (wheel,) = folder.glob("*.whl")
    install = [*pip[:3], "--python", python, *pip[3:], "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    return environment / "bin"


@pytest.fixture
def run(programs: Path, tmp_path: Path) -> Callable[..., str]:
    """run(program, *arguments) in the strangers' folder; what it printed, once it has ended with 0."""
    for name in STRANGERS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("raise SystemExit('a stranger was imported')\n")

    def run(program: str, *arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        line = [programs / program, *arguments]
        ended = subprocess.run(
            line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    return run


def test_the_library_is_imported_by_its_public_name(run):
    code = """if True:
        import sys
        import realsr_rebalance
        for name in realsr_rebalance.__all__:
            getattr(realsr_rebalance, name)
        print(realsr_rebalance.__file__)
        assert not {"shared", "gen", "train"} & sys.modules.keys()
        """
    assert "site-packages" in run("python", "-c", code)


def test_rendering_with_workers_reads_no_module_of_the_folder(run, tmp_path):
    run("realsr", "render", *SMALL, "--workers", "2")
    assert "4 of 4 shards done" in run("realsr", "status", "shards")
    assert "4 of 4 rows are usable" in run("realsr", "verify", "shards", "--rerender", "4", "--workers", "2")


def test_an_element_of_a_slurm_array_reads_no_module_of_the_folder(run, tmp_path):
    with pytest.raises(AssertionError, match="4 of 4 shards are not rendered yet and wait for you: there is no sbatch"):
        run("realsr", "render", *SMALL, "--engine", "slurm", "--workers", "1")
    (script,) = (tmp_path / "shards" / ".slurm").glob("*/array.sh")
    on_a_node = {"HOME": str(tmp_path), "SLURM_ARRAY_TASK_ID": "0"}
    ended = subprocess.run(
        ["/bin/bash", script], env=on_a_node, capture_output=True, text=True, timeout=DEADLINE_SECONDS
    )
    assert (ended.returncode, ended.stdout.count(": done")) == (0, 4), ended.stderr


def test_ray_tasks_read_no_module_of_the_folder(run):
    pytest.importorskip("ray", reason="the optional extra ray is not installed")
    run("realsr", "render", *SMALL, "--engine", "ray", "--workers", "2")


def test_the_trainer_answers(run):
    assert "usage" in run("realsr", "train", "--help")
