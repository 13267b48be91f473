"""Networks fine-tuned from one start on one frozen plan each, and what they gain on crops under that plan.

The trials are those of TGSR's groups (`train/grouping/trials.py`): steps on L1, PSNR-Y of the weights themselves on the
validation crops, averaged over the last ten steps. What is done is kept line by line, so that a search goes on.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from scripts.reproduce.lab import Lab
from shared.config import parse
from shared.degradation.plan import Plan
from shared.mixing.plans import Frozen
from shared.mixing.tasks import Task, find_tasks
from shared.progress import progress_bar
from shared.rebalance.clusters import clusters_of, standard_errors
from shared.records import canonical_json
from shared.storage.json_lines import JsonLines
from train.evaluation.measure import photographs_of
from train.grouping.trials import Trials
from train.networks.weights import NetworkSpec, Weights, load_weights, weights_digest
from train.record.checkpoint import weights_file
from train.session import make_accelerator
from train.settings import TrainSettings


class FineTunes:
    """Fine-tunings of the network in `init` (a run, checkpoint or weights file) on each of the plans."""

    def __init__(self, lab: Lab, name: str, plans: Sequence[Plan], init: str | Path, steps: int | None = None) -> None:
        """name: of the tasks and the log. plans: for HR crops of the scale's train patch."""
        self.steps = steps or lab.scale.fine_tune_steps
        flags = ["--config", str(lab.scale.recipe), "--shards", str(lab.shards()), "--grouping.steps", str(self.steps)]
        self._settings = parse(TrainSettings, [*flags, *lab.psnr, *_images(lab)], "train/run.py", "")
        self._boxes = find_tasks(lab.shards())
        self._tasks = [self._task(f"{name}{number}", plan) for number, plan in enumerate(plans)]
        network = self._settings.network
        self.spec = NetworkSpec(network.name, network.options, self._boxes[0].scale)
        self.initial: Weights = load_weights(weights_file(Path(init)))
        self._log = JsonLines(lab.folder / f"{name}-{self._digest(plans)}.jsonl")

    def _task(self, name: str, plan: Plan) -> Task:
        """A task of one plan, without shards of its own: its HR crops are those of the boxes."""
        box = self._boxes[0]
        return replace(box, name=name, plans=Frozen(name, plan, box.patch), train=None, train_manifest=None)

    def _digest(self, plans: Sequence[Plan]) -> str:
        """What the results depend on, in short: part of the name of their log."""
        parts = [[plan.to_json() for plan in plans], weights_digest(self.initial), asdict(self._settings)]
        return hashlib.sha256(canonical_json(parts)).hexdigest()[:10]

    @contextmanager
    def _trials(self) -> Iterator[Trials]:
        accelerator = make_accelerator(self._settings)
        trials = Trials(self._settings, self._boxes, self.spec, self.initial, accelerator, plans=self._tasks)
        with trials.loader:
            yield trials

    def gains_db(self) -> np.ndarray:
        """PSNR(fine-tuned) - PSNR(start), float64 [plans, crops], dB, from a fine-tuning on each plan alone."""
        self._log.rewind("number", len(self._tasks))
        done = [record["gains_db"] for record in self._log.read()]
        if len(done) < len(self._tasks):
            with self._trials() as trials, self._bar(len(done)) as bar:
                for number in range(len(done), len(self._tasks)):
                    done.append(trials.crop_gains([number], number, bar)[0].tolist())
                    self._log.append({"number": number, "gains_db": done[-1]})
        return np.array(done)

    def joint_gains_db(self) -> np.ndarray:
        """The same from one fine-tuning on all plans in equal shares, with as many steps for each."""
        log = JsonLines(self._log.path.with_suffix(".joint.jsonl"))
        if not log.read():
            members = [*range(len(self._tasks))]
            with self._trials() as trials, self._bar() as bar:
                log.append({"gains_db": trials.crop_gains(members, len(members), bar).tolist()})
        return np.array(log.read()[0]["gains_db"])

    def _bar(self, done: int = 0) -> tqdm:
        return progress_bar(self.steps * len(self._tasks), "step", initial=self.steps * done, leave=False)

    def psnr_db(self, checkpoint: str | Path) -> np.ndarray:
        """PSNR-Y of a checkpoint's averaged weights on the crops of each plan, float64 [plans, crops], dB."""
        network = self.spec.load(load_weights(weights_file(Path(checkpoint))), str(checkpoint)).eval()
        with self._trials() as trials:
            network.to(trials.accelerator.device)
            return np.array([trials.psnr_db(network, number) for number in range(len(self._tasks))])

    def photographs(self) -> list[str]:
        """The photograph of each crop, by its hash."""
        rows = self._boxes[0].val_rows()
        return photographs_of(rows)[: self._settings.grouping.images or None]


def errors_db(values_db: np.ndarray, photographs: Sequence[str]) -> np.ndarray:
    """Standard errors, float64 [n], of the means of values [n, crops], photographs as clusters; NaN with only one."""
    clusters = clusters_of(photographs)
    if len(set(photographs)) < 2:
        return np.full(len(values_db), np.nan)
    return standard_errors(values_db, values_db.mean(axis=1), clusters)


def _images(lab: Lab) -> list[str]:
    """The scale's number of validation crops of such trials, if it has one of its own."""
    flags = list(lab.scale.grouping)
    return flags[flags.index("--grouping.images") :][:2] if "--grouping.images" in flags else []


def checkpoints(run: Path, count: int) -> list[Path]:
    """`count` of the checkpoints that a run has kept, evenly spaced up to the last; all when there are fewer."""
    found = [folder for folder in sorted((run / "checkpoints").glob("step-*")) if int(folder.name[5:])]
    return [found[-(-len(found) * (i + 1) // count) - 1] for i in range(count)] if len(found) > count else found
