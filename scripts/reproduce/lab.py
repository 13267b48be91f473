"""What all experiments are made of: datasets, networks that start alike, their PSNR. Everything resumes.

An experiment is a sequence of the project's own commands, run in this process; each skips what it has done before, so
an interrupted experiment goes on when its command is given again.
"""

import csv
import json
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gen.render
import train.evaluate
import train.run
from scripts.reproduce.scales import SCALES, get_scale
from shared.atomic import write_text
from shared.config import option
from shared.degradation.partition import partition
from shared.degradation.space import get_space
from shared.errors import RunError
from shared.runlog import JsonLines
from train.grouping import FILE as GROUPS

TEST_SEED = 1_000_003
"""Test crops are drawn by another seed than the validation crops that weights are set on."""


@dataclass(frozen=True)
class Settings:
    """What every experiment can be asked for."""

    scale: str = option("small", f"how large: {', '.join(SCALES)}")
    hr: str = option("photos", "folder of HR pictures to train on; 'photos' = those of scikit-image")
    val_hr: str | None = option(None, "folder of pictures that weights are set on; default: 1 in 20 of --hr")
    test_hr: str | None = option(None, "folder of pictures that results are reported on; default: those of --val-hr")
    testset: list[str] | None = option(None, "further test sets to report, as NAME=PATH of train.evaluate")
    init: str | None = option(None, "weights that every network starts from; default: pre-train a network on all tasks")
    seeds: int = option(3, "networks of each kind, paired by seed")
    jobs: int = option(1, "networks trained at once, each on its share of the cores")
    out: str = option(
        "runs/reproduce", "folder of all experiments; they share datasets and the network they start from"
    )


Job = Callable[["Lab"], Any]
"""A piece of work that needs nothing but the lab; a function of a module, or a `partial` of one."""


class Lab:
    """The folder of the experiments of one scale. Each method makes what is missing and says where it is."""

    def __init__(self, settings: Settings, experiment: str) -> None:
        """Raises `UsageError` for an unknown scale, `RunError` when the paper's scale lacks what it needs."""
        self.settings, self.experiment, self.scale = settings, experiment, get_scale(settings.scale)
        self.shared = Path(settings.out, self.scale.name)
        self.folder = self.shared / experiment
        if not self.scale.pretrain and not settings.init:
            raise RunError(f"scale {self.scale.name} starts from given weights: name them with --init")

    def announce(self) -> None:
        """Say what the experiment needs and where its results will be, before it starts."""
        print(f"{self.experiment}, scale {self.scale.name}: needs {self.scale.needs}")
        print(f"results: {self.folder}; run the same command again to go on after an interruption")

    def do(self, jobs: Sequence[Job]) -> None:
        """Do independent pieces of work, `--jobs` at once; each names what it trains, so that all resume."""
        if self.settings.jobs == 1:
            for job in jobs:
                job(self)
            return
        context = multiprocessing.get_context("spawn")  # PyTorch's threads do not survive a fork
        cores = context.Queue()
        for group in np.array_split(sorted(os.sched_getaffinity(0)), self.settings.jobs):
            cores.put(group.tolist())
        with ProcessPoolExecutor(self.settings.jobs, context, _take_cores, (cores,)) as pool:
            for future in [pool.submit(_do, self.settings, self.experiment, job) for job in jobs]:
                future.result()

    # ---- datasets

    def shards(self, cut: str = "2x2", space: str = "paper", rows: int | None = None) -> Path:
        """Folder with the train and val datasets of every task of a partition; `rows` in each, or the scale's."""
        scale, folder = self.scale, self._shards_folder(cut, space, f"rows{rows or 'all'}")
        self._render(folder, cut, space, "train", rows or scale.train_rows, scale.train_patch)
        self._render(folder, cut, space, "val", scale.val_rows, scale.val_patch)
        return folder

    def testsets(self, cut: str = "2x2", space: str = "paper") -> dict[str, str]:
        """Test sets by name: every task of a partition on pictures that set no weight, then the further ones."""
        scale, folder = (
            self.scale,
            self._shards_folder(cut, space, "test"),
        )
        self._render(folder, cut, space, "val", scale.val_rows, scale.val_patch, test=True)
        names = [box.name for box in partition(get_space(space), cut)]
        further = dict(text.partition("=")[::2] for text in self.settings.testset or ())
        return {name: str(folder / f"{name}-val") for name in names} | further

    def _shards_folder(self, cut: str, space: str, what: str) -> Path:
        return self.shared / "shards" / f"{space}-{cut.replace(':', '-')}-{what}"

    def _render(
        self, out: Path, cut: str, space: str, split: str, rows: int, patch: int, *, test: bool = False
    ) -> None:
        val_hr = self.settings.test_hr if test and self.settings.test_hr else self.settings.val_hr
        flags = ["--subspace", "all", "--partition", cut, "--space", space, "--split", split, "--count", str(rows)]
        flags += ["--patch", str(patch), "--out", str(out), "--hr", self.settings.hr]
        flags += ["--seed", str(TEST_SEED)] if test else []
        command(gen.render.main, flags + (["--val-hr", val_hr] if val_hr else []))

    # ---- networks

    def initial(self) -> str:
        """Weights that every network starts from."""
        if self.settings.init:
            return self.settings.init
        run = self.shared / "pretrained"
        flags = ["--config", str(self.scale.recipe), "--shards", str(self.shards()), "--run", str(run)]
        command(train.run.main, [*flags, "--policy", "uniform", "--seed", "0", *self.scale.pretrain])
        return str(run)

    def train(
        self,
        name: str,
        *flags: str,
        cut: str = "2x2",
        space: str = "paper",
        rows: int | None = None,
        seed: int = 0,
    ) -> Path:
        """Run folder of a network trained from the initial weights with the scale's recipe and these flags."""
        run = self.folder / name / f"seed{seed}"
        self._train(run, self.shards(cut, space, rows), seed, flags)
        return run

    def references(
        self, *flags: str, cut: str = "2x2", space: str = "paper", rows: int | None = None, seed: int = 0
    ) -> Path:
        """Folder of the single-task networks of a partition; experiments with equal flags share them."""
        shards = self.shards(cut, space, rows)
        kind = "-".join([shards.name, *(flag.strip("-") for flag in flags), f"seed{seed}"])
        folder = self.shared / "references" / kind
        run = folder.with_name(f"{kind}.run")
        self._train(run, shards, seed, (*flags, "--mode", "references", "--references", str(folder)))
        return folder

    def groups(
        self, *flags: str, name: str = "initial", plans: int | None = None, cut: str = "2x2", rows: int | None = None
    ) -> Path:
        """File with TGSR-style groups, found once from the initial weights (or those in the flags) for all seeds."""
        shards = self.shards(cut, rows=rows)
        folder = self.shared / "groups" / shards.name / f"{name}-{plans or self.scale.plans}"
        fixed = ("--mode", "groups", "--groups", str(folder / GROUPS), *self.grouping(plans))
        self._train(folder, shards, 0, (*fixed, *flags))
        return folder / GROUPS

    def grouping(self, plans: int | None = None) -> tuple[str, ...]:
        """How groups are found: flags for the search, and for the networks that train on them."""
        return "--grouping.plans", str(plans or self.scale.plans), *self.scale.grouping

    def _train(self, run: Path, shards: Path, seed: int, flags: Sequence[str]) -> None:
        fixed = ["--config", str(self.scale.recipe), "--shards", str(shards), "--run", str(run)]
        command(train.run.main, [*fixed, "--init", self.initial(), "--seed", str(seed), *flags])

    # ---- results

    def measure(self, run: Path, testsets: dict[str, str]) -> dict[str, list[float]]:
        """PSNR-Y of a network on every image of every test set, dB."""
        out = run / "test"
        named = [f"{name}={path}" for name, path in testsets.items()]
        command(train.evaluate.main, ["--checkpoint", str(run), "--testset", *named, "--out", str(out), "--overwrite"])
        table: dict[str, list[float]] = defaultdict(list)
        with (out / "images.csv").open() as file:
            for line in csv.DictReader(file):
                table[line["testset"]].append(float(line["psnr_db"]))
        return dict(table)

    def write(self, name: str, numbers: Any, markdown: str) -> None:
        """Keep the numbers behind a table or figure, and the table for people; print it."""
        write_text(self.folder / f"{name}.json", json.dumps(numbers, indent=1))
        write_text(self.folder / f"{name}.md", markdown)
        print(markdown)


def _take_cores(cores: Any) -> None:
    os.sched_setaffinity(0, cores.get())


def _do(settings: Settings, experiment: str, job: Job) -> None:
    job(Lab(settings, experiment))


def borders(run: Path) -> list[dict[str, Any]]:
    """What a run logged at every border between intervals."""
    return JsonLines(run / "intervals.jsonl").read()


def command(main: Any, argv: list[str]) -> None:
    """Run a command of the project. Raises its error, or `RunError` for an exit code other than 0."""
    code = main(argv)
    if code:
        raise RunError(f"a command failed with exit code {code}: {' '.join(argv)}")
