"""What all experiments are made of: datasets, networks that start alike, their PSNR. Everything resumes.

An experiment is a sequence of the project's own commands, run in this process; each skips what it has done before, so
an interrupted experiment goes on when its command is given again.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import gen.render
import gen.testset
import train.evaluate
import train.run
import train.settings
from scripts.reproduce.commands import LOG, command
from scripts.reproduce.scales import SCALES, get_scale
from shared.config import option, parse
from shared.degradation.partition import partition
from shared.degradation.presets import get_space
from shared.errors import RunError, UsageError, require_at_least
from shared.storage.atomic import write_text
from shared.storage.json_lines import JsonLines
from train.evaluation.testsets import named_path, open_testsets
from train.networks import NETWORKS
from train.settings import GROUPS

TEST_SEED = 1_000_003
"""Test crops are drawn by another seed than the validation crops that weights are set on."""
SAME_PHOTOGRAPHS = (
    "Measured on the photographs that weights are set on, other crops of them or whole, since no --test-hr was given; "
    "sets of --testset are what they are.\n"
)
NO_TESTS = ("test_hr", "testset", "lpips")
"""LabSettings that mean nothing to an experiment that only looks at the validation sets."""


@dataclass(frozen=True)
class LabSettings:
    """What experiments can be asked for."""

    scale: str = option("small", f"how large: {', '.join(SCALES)}")
    hr: str = option("photos", "folder of HR pictures to train on; 'photos' = those of scikit-image")
    val_hr: str | None = option(None, "folder of pictures that weights are set on; default: 1 in 20 of --hr")
    test_hr: str | None = option(None, "folder of pictures that results are reported on; default: those of --val-hr")
    testset: list[str] | None = option(None, "further test sets to report, as NAME=PATH of train.evaluate")
    init: list[str] | None = option(
        None, "weights that every network starts from, FILE or NETWORK=FILE; default: pre-train a network on all tasks"
    )
    lpips: list[str] | None = option(None, "measure LPIPS too: vgg, alex (files: docs/results.md)")
    seeds: int = option(3, "networks of each kind, paired by seed")
    jobs: int = option(1, "networks trained at once, each on its share of the cores")
    out: str = option(
        "runs/reproduce", "folder of all experiments; they share datasets and the network they start from"
    )


Job = Callable[["Lab"], Any]
"""A piece of work that needs nothing but the lab; a function of a module, or a `partial` of one."""


class Lab:
    """The folder of the experiments of one scale. Each method makes what is missing and says where it is."""

    def __init__(self, settings: LabSettings, experiment: str) -> None:
        """Raises `UsageError` for an unknown scale, and for numbers that no experiment can have."""
        self.settings, self.experiment, self.scale = settings, experiment, get_scale(settings.scale)
        self.shared = Path(settings.out, self.scale.name)
        self.folder = self.shared / experiment
        self._done: set[tuple[str, ...]] = set()
        require_at_least(1, settings, "seeds", "jobs")

    @classmethod
    def of_command(cls, experiment: str, argv: list[str], doc: str | None, without: Collection[str] = ()) -> "Lab":
        """As a command's arguments ask for it. without: settings that mean nothing to the experiment."""
        return cls(
            parse(LabSettings, argv, f"python -m scripts.reproduce.{experiment}", doc or "", without), experiment
        )

    def announce(self, num_steps: int) -> None:
        """Say what the experiment needs, how long it takes and where its results will be, before it starts.

        num_steps: of training, over all networks but the one that they start from. Raises as `given`.
        """
        if num_steps and self.given() is None:
            num_steps += self.scale.pretrain_steps
        low, high = (num_steps * seconds / 3600 for seconds in self.scale.step_seconds)
        print(f"{self.experiment}, scale {self.scale.name}: needs {self.scale.needs}")
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

    def _command(self, main: Callable[[list[str]], int], argv: list[str]) -> None:
        """Run a command, unless this process has run it before."""
        if (main.__module__, *argv) not in self._done:
            command(main, argv, self.shared / LOG)
            self._done.add((main.__module__, *argv))

    # ---- datasets

    def shards(self, cut: str = "2x2", space: str = "paper", rows: int | None = None) -> Path:
        """Folder with the train and val datasets of every task of a partition; `rows` in each, or the scale's."""
        scale, folder = self.scale, self._shards_folder(cut, space, f"rows{rows or 'all'}")
        self._render(folder, cut, space, "train", rows or scale.train_rows, scale.train_patch)
        self._render(folder, cut, space, "val", scale.val_rows, scale.val_patch)
        return folder

    def testsets(self) -> dict[str, str]:
        """Test sets by name: each of the four tasks on crops that set no weight, then the further ones.

        They are of other photographs than the validation crops only with --test-hr: see `tested_on`.
        """
        cut, space, scale = "2x2", "paper", self.scale
        folder = self._shards_folder(cut, space, "test")
        self._render(folder, cut, space, "val", scale.val_rows, scale.val_patch, test=True)
        names = [box.name for box in partition(get_space(space), cut)]
        return {name: str(folder / f"{name}-val") for name in names} | self.further_testsets()

    def whole_images(self, title: str) -> dict[str, str]:
        """DIV2K4Level or DIV2K-random from whole pictures of --test-hr, made by gen.testset, by its title.

        Without --test-hr they are the validation photographs: see `tested_on`. Raises `UsageError` when all pictures
        are trained on.
        """
        settings, folder = self.settings, self.shared / "testsets" / title.lower()
        hr = settings.test_hr or settings.val_hr or settings.hr
        if hr == settings.hr != "photos":
            raise UsageError(f"{title} needs pictures that are not trained on: give --test-hr or --val-hr")
        self._command(gen.testset.main, ["--name", title.lower(), "--hr", hr, "--out", str(folder)])
        return {title: str(folder)}

    @property
    def tested_on(self) -> str:
        """What a table of test sets has to say of their photographs."""
        return "" if self.settings.test_hr else SAME_PHOTOGRAPHS

    def further_testsets(self) -> dict[str, str]:
        """Those of --testset, by name."""
        return {name: str(path) for name, path in map(named_path, self.settings.testset or ())}

    def _shards_folder(self, cut: str, space: str, what: str) -> Path:
        return self.shared / "shards" / f"{space}-{cut.replace(':', '-')}-{what}"

    def _render(
        self, out: Path, cut: str, space: str, split: str, rows: int, patch: int, *, test: bool = False
    ) -> None:
        val_hr = self.settings.test_hr if test and self.settings.test_hr else self.settings.val_hr
        flags = ["--subspace", "all", "--partition", cut, "--space", space, "--split", split, "--count", str(rows)]
        flags += ["--patch", str(patch), "--out", str(out), "--hr", self.settings.hr]
        flags += ["--seed", str(TEST_SEED)] if test else []
        self._command(gen.render.main, flags + (["--val-hr", val_hr] if val_hr else []))

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
        run = self.shared / ("pretrained" if name == self.scale.network else f"pretrained-{name}")
        fixed = ["--config", str(self.scale.recipe), "--shards", str(self.shards()), "--run", str(run)]
        self._command(train.run.main, [*fixed, *flags, "--policy", "uniform", "--seed", "0", *self.scale.pretrain])
        return str(run)

    def train(
        self,
        name: str,
        *flags: str,
        cut: str = "2x2",
        space: str = "paper",
        rows: int | None = None,
        seed: int = 0,
        network: str | None = None,
        group: str | None = None,
    ) -> Path:
        """Run folder of a network trained from the initial weights with the scale's recipe and these flags.

        group: experiment in whose folder it lies; default: this one.
        """
        run = self.shared / (group or self.experiment) / name / f"seed{seed}"
        self._train(run, self.shards(cut, space, rows), seed, flags, network)
        return run

    def references(
        self,
        *flags: str,
        cut: str = "2x2",
        space: str = "paper",
        rows: int | None = None,
        seed: int = 0,
        network: str | None = None,
    ) -> Path:
        """Folder of the single-task networks of a partition; experiments with equal flags share them."""
        shards = self.shards(cut, space, rows)
        other = [network] if network not in (None, self.scale.network) else []
        kind = "-".join([shards.name, *other, *(flag.strip("-") for flag in flags), f"seed{seed}"])
        folder = self.shared / "references" / kind
        run = folder.with_name(f"{kind}.run")
        self._train(run, shards, seed, (*flags, "--mode", "references", "--references", str(folder)), network)
        return folder

    def groups(
        self, *flags: str, name: str = "initial", plans: int | None = None, cut: str = "2x2", rows: int | None = None
    ) -> Path:
        """File with TGSR-style groups, found once from the initial weights (or those in the flags) for all seeds."""
        shards = self.shards(cut, rows=rows)
        folder = self.shared / "groups" / shards.name / f"{name}-{plans or self.scale.plans}"
        fixed = ("--mode", "groups", "--groups", str(folder / GROUPS), *self.grouping(plans))
        self._train(folder, shards, 0, (*fixed, *flags), None)
        return folder / GROUPS

    def grouping(self, plans: int | None = None) -> tuple[str, ...]:
        """How groups are found: flags for the search, and for the networks that train on them."""
        return "--grouping.plans", str(plans or self.scale.plans), *self.scale.grouping

    def grouping_steps(self, plans: int | None = None) -> int:
        """Training steps of a search for groups: on each plan alone, then on the chosen ones together."""
        search = parse(train.settings.TrainSettings, list(self.grouping(plans)), "train/run.py", "").grouping
        return round(search.plans * search.steps * (1 + search.share))

    def _train(self, run: Path, shards: Path, seed: int, flags: Sequence[str], network: str | None) -> None:
        fixed = ["--config", str(self.scale.recipe), "--shards", str(shards), "--run", str(run)]
        fixed += ["--init", self.initial(network), *self._network(network)]
        self._command(train.run.main, [*fixed, "--seed", str(seed), *flags])

    def _network(self, name: str | None) -> list[str]:
        """Flags of train/run.py for another network than the recipe's."""
        if name in (None, self.scale.network):
            return []
        return ["--network", json.dumps(self.scale.other_network(str(name)))]

    # ---- results

    def measure(self, run: Path, testsets: Mapping[str, str], measure: str = "psnr_db") -> dict[str, list[float]]:
        """A measure of a network on every image of every test set, by test set. measure: a key of `COLUMNS`."""
        out = run / "test"
        self.evaluate(out, ["--checkpoint", str(run)], testsets)
        table: dict[str, list[float]] = {name: [] for name in self.names(testsets)}
        for result in train.evaluate.read_results(out):
            if result.testset in table:
                table[result.testset].append(result.values[measure])
        return table

    def evaluate(self, out: Path, system: Sequence[str], testsets: Mapping[str, str]) -> None:
        """Measure a system, given as flags of train.evaluate; what `out` has of it already stays."""
        flags = ["--lpips", *self.settings.lpips] if self.settings.lpips else []
        flags += ["--testset", *_paths(testsets), "--out", str(out), "--overwrite"]
        self._command(train.evaluate.main, [*system, *flags])

    def names(self, testsets: Mapping[str, str]) -> list[str]:
        """Names of the test sets that these paths hold: a folder can hold several. Without those that have no HR."""
        return [*self.sizes(testsets)]

    def sizes(self, testsets: Mapping[str, str]) -> dict[str, int]:
        """Numbers of images of these test sets, by name."""
        return {found.name: len(found.names) for found in open_testsets(_paths(testsets)) if found.scale}

    def write(self, name: str, numbers: Any, markdown: str) -> None:
        """Keep the numbers behind a table or figure, and the table for people; print it."""
        write_text(self.folder / f"{name}.json", json.dumps(numbers, indent=1))
        write_text(self.folder / f"{name}.md", markdown)
        print(markdown)

    def write_tested(self, name: str, numbers: Any, *texts: str) -> None:
        """`write` the parts, without empty ones, of a page about test sets, and what is to be said of those."""
        self.write(name, numbers, "\n".join(text for text in (*texts, self.tested_on) if text))


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
