"""The structure of the code: imports point one way, and each heavy library is imported by few packages."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {"shared": {"shared"}, "gen": {"gen", "shared"}, "train": {"train", "shared"}}
LIBRARY = {
    "storage": set(),
    "photos": {"storage"},
    "shards": {"storage"},
    "degradation": set(),
    "rebalance": set(),
    "mixing": {"storage", "photos", "shards", "degradation"},
}
"""Packages of the library, and what each may import of the others. All may import the modules directly in shared/."""
TRAINER = {
    "networks": set(),
    "record": {"networks"},
    "optimisation": {"networks", "record"},
    "evaluation": {"networks", "record"},
    "grouping": {"networks", "record", "optimisation", "evaluation"},
    "report": {"record", "evaluation"},
}
"""Packages of the trainer, and what each may import of the others. All may import its settings."""
FILES = [path for package in MAY_IMPORT for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """Full names of the modules that a file imports; relative imports are resolved."""
    names, package = set(), list(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            names |= {module} if node.module else {f"{module}.{alias.name}" for alias in node.names}
    return names


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def subpackages(path: Path, package: str) -> set[str]:
    """Packages of a package, and modules beside them, that a file imports."""
    return {module.split(".")[1] for module in imported(path) if module.startswith(f"{package}.")}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_between_packages_point_one_way(path):
    ours = {module.split(".")[0] for module in imported(path)} & {*MAY_IMPORT, "scripts", "tests", "realsr_rebalance"}
    assert ours <= MAY_IMPORT[path.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("path", sorted((ROOT / "shared").rglob("*.py")), ids=name)
def test_the_library_imports_itself_by_relative_names(path):
    absolute = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in absolute if not node.level and f"{node.module}.".startswith("shared.")]


@pytest.mark.parametrize("path", sorted((ROOT / "shared").glob("*/**/*.py")), ids=name)
def test_imports_between_the_packages_of_the_library_point_one_way(path):
    own = path.relative_to(ROOT).parts[1]
    assert subpackages(path, "shared") & LIBRARY.keys() <= {own, *LIBRARY[own]}


@pytest.mark.parametrize("path", sorted((ROOT / "shared").glob("*.py")), ids=name)
def test_the_base_of_the_library_imports_no_package(path):
    if path.stem != "__init__":  # whose names are imported on first use
        assert not subpackages(path, "shared") & LIBRARY.keys()


@pytest.mark.parametrize("path", sorted((ROOT / "train").glob("*/*.py")), ids=name)
def test_imports_between_the_packages_of_the_trainer_point_one_way(path):
    own = path.parent.name
    assert subpackages(path, "train") <= {own, *TRAINER[own], "settings"}


def test_packages_are_listed_for_installation_under_both_names():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES if path.name == "__init__.py"}
    library = {package for package in found if package.split(".")[0] == "shared"}
    assert listed == sorted(found | {package.replace("shared", "realsr_rebalance", 1) for package in library})


@pytest.mark.parametrize("library", ["torch", "cv2", "numba", "numpy"])
def test_importing_the_library_or_its_errors_loads_nothing_heavy(library):
    code = f"import sys, shared, shared.errors; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("path", sorted((ROOT / "shared" / "rebalance").rglob("*.py")), ids=name)
def test_of_the_method_only_the_moments_know_torch(path):
    assert path.stem == "moments" or "torch" not in {module.split(".")[0] for module in imported(path)}


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
    assert users == {"train/loop.py", "train/session.py", "train/record/trackers.py"}


def test_random_numbers_come_from_seeds_alone():
    calls = ("np.random.", "numpy.random.", "random.seed", "manual_seed", "cv2.setRNGSeed", "default_rng")
    users = {name(path) for path in FILES if any(call in path.read_text() for call in calls)}
    # train/networks lends PyTorch's layers a seed inside fork_rng, because they take no generator.
    assert users == {"train/networks/build.py"}
