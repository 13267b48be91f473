"""The house's walls: imports point one way, and each heavy library stays in its room."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"shared": {"shared"}, "gen": {"gen", "shared"}, "train": {"train", "shared"}}
TRAINER = {
    "networks": set(),
    "policies": set(),
    "stream": set(),
    "record": {"networks"},
    "optimisation": {"networks", "record"},
    "evaluation": {"networks", "record"},
    "grouping": {"networks", "record", "optimisation", "stream"},
}
"""Rooms of train/, and what each may import of the others."""
METHOD = {"settings", "evidence", "estimator", "moments", "quotas"}
"""What every room may import beside; the other modules on top of train/ are commands and what conducts the rooms."""
FILES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_between_packages_point_one_way(path):
    ours = {module.split(".")[0] for module in imported(path)} & {"gen", "train", "shared", "scripts", "tests"}
    assert ours <= MAY_IMPORT[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("path", sorted((ROOT / "train").glob("*/*.py")), ids=name)
def test_imports_between_the_rooms_of_the_trainer_point_one_way(path):
    room = path.parent.name
    assert of_the_trainer(path) <= {room, *TRAINER[room], *METHOD}


@pytest.mark.parametrize("module", sorted(METHOD))
def test_the_method_knows_no_room_but_the_policies(module):
    assert of_the_trainer(ROOT / "train" / f"{module}.py") <= {"policies", *METHOD}


def of_the_trainer(path: Path) -> set[str]:
    """Rooms, and modules beside them, that a file imports."""
    return {module.split(".")[1] for module in imported(path) if module.startswith("train.")}


def test_nothing_on_top_of_the_trainer_bears_the_name_of_a_library():
    """A launcher puts train/ first on sys.path."""
    libraries = {module.split(".")[0] for path in FILES for module in imported(path)} | sys.stdlib_module_names
    assert not {path.stem for path in (ROOT / "train").iterdir() if path.stem.isidentifier()} & (
        libraries - {*MAY_IMPORT}
    )


@pytest.mark.parametrize("path", sorted((ROOT / "shared" / "degradation").glob("*.py")), ids=name)
def test_only_the_cpu_backend_knows_opencv_and_only_the_gpu_backend_knows_torch(path):
    libraries = {module.split(".")[0] for module in imported(path)}
    assert "cpu" in path.stem or not libraries & {"cv2", "turbojpeg"}
    assert "gpu" in path.stem or "torch" not in libraries


@pytest.mark.parametrize("path", sorted((ROOT / "gen").rglob("*.py")), ids=name)
def test_rendering_needs_no_torch(path):
    assert "torch" not in {module.split(".")[0] for module in imported(path)}


def test_only_the_loop_the_command_and_the_trackers_talk_to_accelerate():
    users = {name(path) for path in FILES if any(m.split(".")[0] == "accelerate" for m in imported(path))}
    assert users == {"train/loop.py", "train/run.py", "train/record/trackers.py"}


def test_random_numbers_come_from_seeds_alone():
    calls = ("np.random.", "numpy.random.", "random.seed", "manual_seed", "cv2.setRNGSeed", "default_rng")
    users = {name(path) for path in FILES if any(call in path.read_text() for call in calls)}
    # train/networks lends PyTorch's layers a seed inside fork_rng, because they take no generator.
    assert users == {"train/networks/__init__.py"}
