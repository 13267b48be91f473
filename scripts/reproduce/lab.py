"""What all experiments are made of: datasets, networks that start alike, and their measured quality.

An experiment is a sequence of the project's own commands, run in this process. Each command skips what it has done
before, so an interrupted experiment goes on when its command is given again.
"""

import contextlib
import json
import multiprocessing
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import gen.render
import gen.testset
import train.evaluate
import train.run
from scripts.reproduce.scales import get_scale
from scripts.reproduce.settings import LabSettings
from shared.config import parse
from shared.degradation.partition import Subspace, partition
from shared.degradation.space_file import find_space
from shared.errors import RunError, UsageError, require_at_least
from shared.metrics_lpips import BACKBONES, backbone_file
from shared.storage.atomic import write_text
from shared.storage.json_lines import JsonLines
from train.evaluation.results import read_results
from train.evaluation.testsets import named_path, open_testsets
from train.networks import NETWORKS
from train.settings import GROUPS, TrainSettings

LOG = "commands.log"
"""The output of the commands of all experiments; progress bars and results are shown on the terminal."""
POOL = "study"
"""Networks that several experiments compare lie in this folder, so that each is trained once."""
TEST_SEED = 1_000_003
"""Test crops are drawn by another seed than the validation crops that weights are set on."""
SAME_PHOTOGRAPHS = (
    "Without --test-hr, the synthetic test sets show the photographs that the weights are set on, whole or in other "
    "crops.\n"
)
Job = Callable[["Lab"], Any]
"""A piece of work that needs nothing but the lab; a function of a module, or a `partial` of one."""


class Lab:
    """The folder of the experiments of one scale. Each method makes what is missing and says where it is."""

    def __init__(self, settings: LabSettings, experiment: str) -> None:
        """Raises `UsageError` for an unknown scale, and for numbers that no experiment can have."""
        self.settings, self.experiment, self.scale = settings, experiment, get_scale(settings.scale)
        self.shared = Path(settings.out, self.scale.name)
        self.folder = self.shared / f"{self._prefix}{experiment}"
        self._done: set[tuple[str, ...]] = set()
        require_at_least(1, settings, "seeds", "jobs")

    def announce(self, num_steps: int) -> None:
        """Say what the experiment needs, how long it takes and where its results will be.

        num_steps: training steps of all networks but the one that they start from. Raises as `given`.
        """
        if num_steps and self.given() is None:
            num_steps += self.scale.pretrain_steps
        low, high = (num_steps * seconds / 3600 for seconds in self.scale.step_seconds)
        print(f"{self.experiment}, scale {self.scale.name}, space {self.settings.space}: needs {self.scale.needs}")
        if num_steps:
            print(f"at most {num_steps:,} training steps, {low:.2g} to {high:.2g} h ({self.scale.timed})")
        print(f"results: {self.folder}, details: {self.shared / LOG}")
        print("after an interruption the same command goes on where it stopped")

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

    def command(self, main: Callable[[list[str]], int], argv: list[str]) -> None:
        """Run a command of the project, unless this process has run it before; its output goes to the log.

        Raises the command's error, or `RunError` for an exit code.
        """
        if (main.__module__, *argv) in self._done:
            return
        log, words = self.shared / LOG, f"{main.__module__} {shlex.join(argv)}"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", buffering=1) as file, contextlib.redirect_stdout(file):
            print(f"$ {words}")
            code = main(argv)
        if code:
            raise RunError(f"a command failed with exit code {code}, see {log}: {words}")
        self._done.add((main.__module__, *argv))

    # ---- datasets

    def tasks(self, cut: str = "2x2") -> tuple[Subspace, ...]:
        """The boxes of a partition of the space. Raises `UsageError` for an unknown space."""
        return partition(find_space(self.settings.space), cut)

    def shards(self, cut: str = "2x2", rows: int | None = None) -> Path:
        """Folder with the train and val datasets of every task of a partition; `rows` in each, or the scale's."""
        scale, folder = self.scale, self._shards_folder(cut, f"rows{rows or 'all'}")
        self._render(folder, cut, "train", rows or scale.train_rows, scale.train_patch)
        self._render(folder, cut, "val", scale.val_rows, scale.val_patch)
        return folder

    def crop_testsets(self) -> dict[str, str]:
        """A test set for each of the four tasks, of crops that set no weight; see `tested_on`."""
        scale, folder = self.scale, self._shards_folder("2x2", "test")
        self._render(folder, "2x2", "val", scale.test_rows, scale.val_patch, test=True)
        return {box.name: str(folder / f"{box.name}-val") for box in self.tasks()}

    def whole_images(self, title: str) -> dict[str, str]:
        """DIV2K4Level or DIV2K-random from whole images of --test-hr, made by gen.testset, by its title.

        Without --test-hr they are the validation photographs: see `tested_on`. Raises `UsageError` when all images are
        trained on.
        """
        settings, folder = self.settings, self.shared / "testsets" / f"{title.lower()}-{self._space_name}"
        hr = settings.test_hr or settings.val_hr or settings.hr
        if hr == settings.hr != "photos":
            raise UsageError(f"{title} needs HR images that are not trained on: give --test-hr or --val-hr")
        space = ["--space", settings.space, "--partition", "2x2"] if title == "DIV2K4Level" else []
        self.command(gen.testset.main, ["--name", title.lower(), "--hr", hr, "--out", str(folder), *space])
        return {title: str(folder)}

    @property
    def tested_on(self) -> str:
        """What a table says about the photographs of its test sets."""
        return "" if self.settings.test_hr else SAME_PHOTOGRAPHS

    def further_testsets(self) -> dict[str, str]:
        """The test sets of --testset, by name."""
        return {name: str(path) for name, path in map(named_path, self.settings.testset or ())}

    @property
    def _space_name(self) -> str:
        return Path(self.settings.space).stem

    def _shards_folder(self, cut: str, what: str) -> Path:
        return self.shared / "shards" / f"{self._space_name}-{cut.replace(':', '-')}-{what}"

    def _render(self, out: Path, cut: str, split: str, rows: int, patch: int, *, test: bool = False) -> None:
        val_hr = self.settings.test_hr if test and self.settings.test_hr else self.settings.val_hr
        flags = ["--subspace", "all", "--partition", cut, "--space", self.settings.space, "--split", split]
        flags += ["--count", str(rows), "--patch", str(patch), "--out", str(out), "--hr", self.settings.hr]
        flags += ["--seed", str(TEST_SEED)] if test else []
        self.command(gen.render.main, flags + (["--val-hr", val_hr] if val_hr else []))

    # ---- networks

    def given(self, network: str | None = None) -> str | None:
        """The file of --init that networks of a kind start from, None when they are pre-trained here.

        Raises `RunError` when the scale starts from weights that are not given, `UsageError` for an unknown network.
        """
        self._network(network)
        name = network or self.scale.network
        file = dict(_named(text, self.scale.network) for text in self.settings.init or ()).get(name)
        if file is None and not self.scale.pretrain:
            raise RunError(f"scale {self.scale.name} starts from given weights: name them with --init {name}=FILE")
        return file

    def initial(self, network: str | None = None) -> str:
        """Weights that every network of a kind starts from. Raises as `given`."""
        file, name, flags = self.given(network), network or self.scale.network, self._network(network)
        if file is not None:
            return file
        run = self.shared / f"{self._prefix}{'pretrained' if name == self.scale.network else f'pretrained-{name}'}"
        fixed = ["--config", str(self.scale.recipe), "--shards", str(self.shards()), "--run", str(run)]
        self.command(train.run.main, [*fixed, *flags, "--policy", "uniform", "--seed", "0", *self.scale.pretrain])
        return str(run)

    def train(
        self, name: str, flags: Sequence[str], cut: str, rows: int | None, seed: int, network: str | None
    ) -> Path:
        """Run folder of a network trained from the initial weights with the scale's recipe and these flags."""
        run = self.shared / POOL / f"{self._prefix}{name}" / f"seed{seed}"
        self._train(run, self.shards(cut, rows), seed, flags, network)
        return run

    def references(
        self, *flags: str, cut: str = "2x2", rows: int | None = None, seed: int = 0, network: str | None = None
    ) -> Path:
        """Folder of the single-task networks of a partition; experiments with equal flags share them."""
        shards = self.shards(cut, rows)
        other = [network] if network not in (None, self.scale.network) else []
        kind = "-".join([shards.name, *other, *(flag.strip("-") for flag in flags), f"seed{seed}"])
        folder = self.shared / "references" / kind
        run = folder.with_name(f"{kind}.run")
        self._train(run, shards, seed, (*flags, "--mode", "references", "--references", str(folder)), network)
        return folder

    def groups(self, cut: str = "2x2", rows: int | None = None) -> Path:
        """File with TGSR-style groups, found once from the initial weights for all seeds."""
        shards = self.shards(cut, rows)
        folder = self.shared / "groups" / shards.name / f"initial-{self.scale.plans}"
        self._train(folder, shards, 0, ("--mode", "groups", "--groups", str(folder / GROUPS), *self.grouping()), None)
        return folder / GROUPS

    def grouping(self) -> tuple[str, ...]:
        """How groups are found: flags for the search, and for the networks that train on them."""
        return "--grouping.plans", str(self.scale.plans), *self.scale.grouping

    def grouping_steps(self) -> int:
        """Training steps of a search for groups: on each plan alone, then on the chosen ones together."""
        return parse(TrainSettings, list(self.grouping()), "train/run.py", "").grouping.total_steps

    @property
    def _prefix(self) -> str:
        """Networks of another space than the paper's have folders of their own."""
        return "" if self.settings.space == "paper" else f"{self._space_name}-"

    def _train(self, run: Path, shards: Path, seed: int, flags: Sequence[str], network: str | None) -> None:
        fixed = ["--config", str(self.scale.recipe), "--shards", str(shards), "--run", str(run)]
        fixed += ["--init", self.initial(network), *self._network(network)]
        self.command(train.run.main, [*fixed, "--seed", str(seed), *flags])

    def _network(self, name: str | None) -> list[str]:
        """Flags of train/run.py for another network than the recipe's."""
        if name in (None, self.scale.network):
            return []
        return ["--network", json.dumps(self.scale.other_network(str(name)))]

    @property
    def psnr(self) -> tuple[str, ...]:
        """Flags that make a run one of stage psnr, as all figures have it; none where the recipe says so already."""
        recipe = yaml.safe_load(self.scale.recipe.read_text())
        return () if recipe.get("stage", "psnr") == "psnr" else ("--stage", "psnr")

    # ---- results

    def measure(self, run: Path, testsets: Mapping[str, str]) -> dict[str, list[float]]:
        """PSNR-Y of a network on every image of every test set, dB, by test set."""
        out = run / "test"
        self.evaluate(out, ["--checkpoint", str(run)], testsets)
        table: dict[str, list[float]] = {name: [] for name in self.names(testsets)}
        for result in read_results(out):
            if result.testset in table:
                table[result.testset].append(result.values["psnr_db"])
        return table

    def evaluate(self, out: Path, system: Sequence[str], testsets: Mapping[str, str]) -> None:
        """Measure a system, given as flags of train.evaluate; what `out` has of it already stays."""
        flags = ["--lpips", *self.lpips()] if self.lpips() else []
        flags += ["--testset", *_paths(testsets), "--out", str(out), "--overwrite"]
        self.command(train.evaluate.main, [*system, *flags])

    def lpips(self) -> list[str]:
        """The LPIPS networks to measure with: those of --lpips, or those whose files are there."""
        if self.settings.lpips is not None:
            return [net for net in self.settings.lpips if net != "none"]
        return [net for net in BACKBONES if not lacking(net)]

    def names(self, testsets: Mapping[str, str]) -> list[str]:
        """Names of the test sets that these paths hold: a folder can hold several. Without those that have no HR."""
        return [*self.sizes(testsets)]

    def sizes(self, testsets: Mapping[str, str]) -> dict[str, int]:
        """Numbers of images of these test sets, by name."""
        return {found.name: len(found.names) for found in open_testsets(_paths(testsets)) if found.scale}

    def write(self, name: str, numbers: Any, markdown: str) -> None:
        """Keep the numbers behind a table or figure, and the table for people; print it."""
        write_text(self.folder / f"{name}.json", json.dumps(_finite(numbers), indent=1))
        write_text(self.folder / f"{name}.md", markdown)
        print(markdown)

    def write_tested(self, name: str, numbers: Any, *texts: str) -> None:
        """`write` the parts, without empty ones, of a page about test sets, and what is to be said of those."""
        self.write(name, numbers, "\n".join(text for text in (*texts, self.tested_on) if text))


def _finite(numbers: Any) -> Any:
    """The numbers with null for NaN, which JSON does not have."""
    if isinstance(numbers, Mapping):
        return {key: _finite(value) for key, value in numbers.items()}
    if isinstance(numbers, (list, tuple)):
        return [_finite(value) for value in numbers]
    return None if isinstance(numbers, float) and not np.isfinite(numbers) else numbers


def lacking(net: str) -> str:
    """What must be fetched to measure LPIPS with a network, or nothing."""
    try:
        backbone_file(BACKBONES[net])
    except UsageError as error:
        return str(error)
    return ""


def _paths(testsets: Mapping[str, str]) -> list[str]:
    return [f"{name}={path}" for name, path in testsets.items()]


def _named(text: str, network: str) -> tuple[str, str]:
    """Network and file of one value of --init."""
    name, _, file = text.partition("=")
    return (name, file) if name in NETWORKS else (network, text)


def _take_cores(cores: Any) -> None:
    os.sched_setaffinity(0, cores.get())


def _do(settings: LabSettings, experiment: str, job: Job) -> None:
    job(Lab(settings, experiment))


def boundaries(run: Path) -> list[dict[str, Any]]:
    """What a run logged at every boundary between intervals."""
    return JsonLines(run / "intervals.jsonl").read()
