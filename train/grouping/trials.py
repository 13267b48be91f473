"""The search for groups (TGSR-style): a fine-tuning on every frozen plan, then one on the plans of the largest gains.

The gain is that of PSNR-Y over the network that all fine-tunings start from, on validation crops degraded with the
plan, averaged over crops and over the last ten steps. It is measured with the weights themselves, because their moving
average would not have moved yet, and after steps on L1 alone, whatever the losses of the run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shared.degradation import cpu
from shared.errors import RunError, UsageError
from shared.mixing.loader import MixingLoader
from shared.mixing.pool import HRPool
from shared.mixing.quotas import apportion
from shared.mixing.tasks import Task
from shared.progress import progress_bar
from shared.storage.atomic import locked
from shared.storage.json_lines import JsonLines
from train.evaluation.measure import ValPair, measure
from train.grouping.groups import Grouping, draw_tasks, frozen, group_by_gain, most_improved
from train.networks import GENERATOR
from train.networks.weights import NetworkSpec, Weights
from train.optimisation.learner import Learner
from train.optimisation.objective import TrainingImages
from train.optimisation.step import Launcher, NotFiniteError, backward
from train.record.loading import loader_options
from train.settings import ScheduleSettings, TrainSettings

AVERAGED_STEPS = 10


def cost_samples(settings: TrainSettings, task: Task) -> float:
    """The cost of all trials in samples of training; measuring a sample takes a third of training on it."""
    options, recipe = settings.grouping, task.val_manifest.recipe
    images = options.images or task.val_manifest.rows
    measured = (options.plans + options.num_chosen) * (AVERAGED_STEPS + 1) * images
    return options.total_steps * settings.batch_size + measured * (recipe["patch"] / task.patch) ** 2 / 3


class Trials:
    """Fine-tunings of one network, each from the same weights, on frozen plans drawn from the tasks of a run."""

    def __init__(
        self,
        settings: TrainSettings,
        boxes: Sequence[Task],
        spec: NetworkSpec,
        initial: Weights,
        accelerator: Launcher,
        pool: HRPool | None = None,
        plans: Sequence[Task] | None = None,
    ) -> None:
        """boxes: the tasks of the run; their shards lend HR images unless there is a pool.

        plans: tasks of one frozen plan each; by default they are drawn from the boxes, as the settings say.
        """
        self.settings = replace(settings, stage="psnr", compile=False, ema=0.0, schedule=ScheduleSettings())
        self.spec, self.initial, self.accelerator = spec, initial, accelerator
        self.plans = [*plans] if plans else draw_tasks(boxes, settings.seed, settings.grouping.plans)
        self._offset, self._tasks = len(boxes), [*boxes, *self.plans]
        options = loader_options(settings, accelerator.device)
        self.loader = MixingLoader(settings.shards, tasks=self._tasks, hr=pool, rank=0, num_ranks=1, **options)
        self._untrained = self.loader.state_dict()
        rows = boxes[0].val_rows()
        self._crops = [rows.hr(number) for number in range(len(rows))][: settings.grouping.images or None]

    def gains(self, members: Sequence[int], number: int, bar: Any) -> list[float]:
        """Gain of each member, dB, the mean over `crop_gains`."""
        return self.crop_gains(members, number, bar).mean(axis=1).tolist()

    def crop_gains(self, members: Sequence[int], number: int, bar: Any) -> np.ndarray:
        """Gain of each member on each validation crop, float64 [members, crops], dB, from one fine-tuning on all.

        All members have equal shares of it. number: of the trial, part of the key of its samples' order. Raises
        `RunError` for a loss that is no number.
        """
        steps = self.settings.grouping.steps * len(members)
        learner = Learner(self.spec, self.settings, self.initial, None, self.accelerator.device)
        learner.prepare(self.accelerator.prepare, self.accelerator.scaler)
        network = learner.ema.eval()  # with a decay of 0 the weights as they are, and never in half precision
        pairs = [self._pairs(member) for member in members]
        before = self._psnr(network, pairs)
        late = np.zeros_like(before)
        for done, losses in enumerate(self._train(learner, members, number, steps), 1):
            bar.update()
            bar.set_postfix(loss=f"{losses[GENERATOR]:.4f}", refresh=False)
            if done > steps - AVERAGED_STEPS:
                late += self._psnr(network, pairs) / min(AVERAGED_STEPS, steps)
        self.accelerator.free_memory()
        return late - before

    def _train(self, learner: Learner, members: Sequence[int], number: int, steps: int) -> Iterator[dict[str, float]]:
        """Losses of each step, as the steps are made."""
        shares = [0.0] * len(self._tasks)
        for member in members:
            shares[self._offset + member] = 1 / len(members)
        quotas = apportion(shares, steps * self.settings.batch_size)
        self.loader.load_state_dict({**self._untrained, "interval": number})
        for batch in self.loader.interval(quotas=quotas):
            names = [self._tasks[task].name for task in batch.task.tolist()]
            keys = [(self.settings.seed, n, o) for n, o in zip(names, batch.ordinal.tolist(), strict=True)]
            images = TrainingImages.of(batch.lr, batch.hr, usm=self._tasks[0].usm)
            try:
                losses = backward(learner, self.accelerator, images, batch.task, keys, _equal)
            except NotFiniteError as error:
                tried = ", ".join(sorted({*names}))
                raise RunError(f"{error} while {tried} were tried: take a lower --lr in another --run") from error
            learner.step(0)
            yield losses

    def psnr_db(self, network: torch.nn.Module, member: int) -> np.ndarray:
        """PSNR-Y of a network on each validation crop under a plan, float64 [crops], dB, measured as gains are."""
        return self._psnr(network, [self._pairs(member)])[0]

    def _pairs(self, member: int) -> list[ValPair]:
        """The validation crops under a plan, with noise that no training sample has. They are never sharpened."""
        task = self.plans[member]
        plans, side = replace(frozen(task), name=f"{task.name} val"), self._crops[0].shape[0]
        return [
            ValPair(hr, cpu.render(hr, plans.draw(self.settings.seed, row, side, task.scale), task.scale))
            for row, hr in enumerate(self._crops)
        ]

    def _psnr(self, network: torch.nn.Module, pairs: Sequence[list[ValPair]]) -> np.ndarray:
        """PSNR-Y of the network on each crop of each member, float64 [members, crops], dB."""
        return np.array([measure(network, each, range(len(each)), self.accelerator.device) for each in pairs])


def _equal(losses: torch.Tensor, tasks: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(losses)


def make_grouping(trials: Trials, protocol: dict[str, Any], path: Path) -> Grouping:
    """Try all plans, and write the groups. What is done is kept beside `path`, so that an interrupted search goes on.

    Raises `UsageError` in more than one process, and `RunError` when a search with another protocol was begun there.
    """
    options = trials.settings.grouping
    if trials.accelerator.num_processes > 1:
        raise UsageError(
            f"no groups {path} yet: make them in one process, with python train/run.py --mode groups --groups {path}"
        )
    with locked(path.parent, "train/run.py"), trials.loader:
        log = JsonLines(path.with_suffix(".trials.jsonl"))
        log.rewind("plan", options.plans)
        if not log.read():
            log.append({"plan": -1, "protocol": protocol})
        head, *done = log.read()
        for key in protocol:
            if head["protocol"].get(key) != protocol[key]:
                raise RunError(f"{log.path} was begun with another {key}: give the old one, or delete that file")
        gains_db = [record["gain_db"] for record in done]
        first = len(gains_db) * options.steps
        with progress_bar(options.total_steps, "step", initial=first, desc="groups", leave=False) as bar:
            for number in range(len(gains_db), options.plans):
                (gain,) = trials.gains([number], number, bar)
                log.append({"plan": number, "gain_db": gain})
                gains_db.append(gain)
            chosen = most_improved(gains_db, options.num_chosen)
            joint_db = trials.gains(chosen, options.plans, bar)
        groups = group_by_gain(joint_db, options.thresholds_db)
        plans = [frozen(task).plan.to_json() for task in trials.plans]
        grouping = Grouping(protocol, plans, gains_db, chosen, joint_db, groups)
        grouping.save(path)
        log.path.unlink()
    return grouping
