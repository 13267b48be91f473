"""The command lines of docs/render.md and docs/train.md run as they stand, in their order, at sizes of seconds.

`SIZES` makes each command small, `INSTEAD` names what a reader is told to supply, and `NOT_RUN` says which lines are
only parsed (tests/test_docs.py) and why. Other pages: the sixty seconds of the README, docs/library.md and the snippets
of docs/format.md have tests of their own; docs/format.md and docs/reproduce.md repeat these commands; those of
docs/cluster.md need a cluster, and those of docs/results.md and docs/benchmarks.md hours.
"""

import re
import shlex
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.test_docs import ROOT, commands_of, lines_of, module_of
from tests.train.command import flags, succeed

SMALL = ["--patch", "76", "--rows-per-shard", "4", "--workers", "1"]
TRAIN = flags(iterations=2, interval_steps=2)
SIZES: dict[str, list[str]] = {
    "gen.render": [*SMALL, "--count", "4"],
    "gen.verify": ["--workers", "1"],
    "gen.testset": ["--workers", "1"],
    "train.run": TRAIN,
}
"""What is added to every command."""
INSTEAD = {
    r"--count \d+": "--count 4",
    r"^(realsr render .*--space my.yaml)$": r"\1 --out of-my-space",
    r"^(realsr render --subspace all --count 4 --dry-run)$": r"\1 --out of-photographs",
    r"--rerender \d+": "--rerender 1",
    r"--draw \d+": "--draw 20",
    r"--hr DIR": "--hr DIV2K/DIV2K_train_HR",
    r"merge shards/noise": "merge whole/noise",
    r"--references references.json": "--references runs/default/references/references.json --run runs/third",
    r"RealSR=RealSR_V3": "RealSR=shards/noise-val",
    r"runs/realesrnet runs/realesrgan": "runs/default runs/uniform",
}
NOT_RUN = {
    r"publish": "needs an account of the hub",
    r"realsr adopt": "tests/gen/test_adopt.py",
    r"--multi_gpu|torchrun|--num_processes|--no_python": "several processes: tests/train/test_processes.py",
    r"gpu_check": "needs a GPU",
    r"plan-mixture|--mode pilot|--policy (fixed|planned)": "tiny references overfit: tests/train/test_pilot.py",
}
"""Why lines are not run, by what they hold."""
PAGES = {"render": 13, "train": 9}
"""How many commands of each page are run, at least."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console command as a file, as pip makes it."""
    path = tmp_path_factory.mktemp("bin") / "realsr"
    path.write_text("import sys\nfrom shared.command import main\nsys.exit(main())\n")
    return path


def run_line(line: str, is_whole: bool, folder: Path, realsr: Path) -> bool:
    """Run the first command of a line; whether there was one of ours. Its output goes where `>` says.

    A sentence that names a command without arguments means no command line.
    """
    for pattern, replacement in INSTEAD.items():
        line = re.sub(pattern, replacement, line.split(" #")[0].strip())
    if line.startswith("export ") or not (found := module_of(next(commands_of(line)))) or not (found[1] or is_whole):
        return False
    module, words = found
    script = realsr if line.startswith("realsr") else ROOT / f"{module.replace('.', '/')}.py"
    verb = [line.split()[1]] if script == realsr else []
    given = {word for word in words if word.startswith("--")}
    sizes = SIZES.get(module, [])
    words += [word for at in range(0, len(sizes), 2) if sizes[at] not in given for word in sizes[at : at + 2]]
    said = succeed([*verb, *words], folder, script=script).stdout
    if target := re.search(r"> ([\w.]+)$", line):
        (folder / target[1]).write_text(said)
    return True


@pytest.fixture
def folder(tmp_path: Path, programs: Path) -> Path:
    """A user's folder: photographs, parts to merge, an evaluation to compare with, and a train.py of the user's own."""
    for name, count in (("DIV2K/DIV2K_train_HR", 4), ("DIV2K/DIV2K_valid_HR", 2)):
        (tmp_path / name).mkdir(parents=True)
        for number in range(count):
            noise = np.random.default_rng(len(name) + number).integers(0, 256, (96, 104, 3)).astype(np.float32)
            image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2), None, 0, 255, cv2.NORM_MINMAX)
            cv2.imwrite(str(tmp_path / name / f"{number}.png"), image.astype(np.uint8))
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), np.full((16, 16, 3), 99, np.uint8))
    (tmp_path / "train.py").write_text("raise ImportError('this is not the module that was meant')")
    return tmp_path


def prepare(page: str, folder: Path, realsr: Path) -> None:
    """What the page's reader has already."""
    if page == "render":
        for number, rows in enumerate(("0:4", "4:8"), 1):
            part = f"render --subspace noise --hr DIV2K/DIV2K_train_HR --rows {rows} --out part{number}"
            succeed([*shlex.split(part), *SMALL], folder, script=realsr)
    if page == "train":
        for split in ("train", "val"):
            succeed(["render", "--split", split, "--count", "4", *SMALL], folder, script=realsr)
        measured = "evaluate --checkpoint bicubic --testset RealSR=shards/noise-val --out ev/other"
        succeed(shlex.split(measured), folder, script=realsr)


@pytest.mark.parametrize(("page", "least"), PAGES.items())
def test_commands_of_a_page_run(page: str, least: int, folder: Path, programs: Path) -> None:
    prepare(page, folder, programs)
    done = Counter[bool]()
    for line, is_whole in dict(lines_of(ROOT / "docs" / f"{page}.md")).items():
        if not any(re.search(pattern, line) for pattern in NOT_RUN):
            done[run_line(line, is_whole, folder, programs)] += 1
    assert done[True] >= least


def test_what_is_not_run_stands_in_a_page() -> None:
    lines = [line for page in PAGES for line, _ in lines_of(ROOT / f"docs/{page}.md")]
    assert all(any(re.search(pattern, line) for line in lines) for pattern in NOT_RUN)
