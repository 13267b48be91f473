"""Train super-resolution networks on mixed shard streams whose volumes follow the measured imbalance of the tasks.

With no options: reads shards/, trains the single-task references that are missing, then the shared network, into
runs/default. Running the same command again resumes where it stopped.
"""

import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # a launcher puts train/ there

import torch
from accelerate import Accelerator

from shared.config import parse
from shared.errors import UsageError, run_command
from train.checkpoint import NetworkSpec, Weights, fill, load_weights, weights_digest, weights_file
from train.evidence import to_float
from train.loop import RunSpec, is_finished, train
from train.losses import l1
from train.networks import num_parameters
from train.policies import make_policy
from train.references import References, Trace, load_trace, require_same_protocol
from train.settings import Settings
from train.tasks import Task, find_tasks


def main(argv: list[str]) -> int:
    """The command; see `Settings`. Returns the exit code."""
    settings = parse(Settings, argv, "accelerate launch train/run.py", __doc__ or "")
    tasks = find_tasks(Path(settings.shards), settings.tasks)
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    if settings.batch_size % accelerator.num_processes:
        raise UsageError(
            f"batch_size is {settings.batch_size}: not a multiple of the {accelerator.num_processes} processes"
        )
    if accelerator.device.type == "cpu":
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // accelerator.num_processes))  # launchers say 1
    plan = Plan(settings, tasks)
    if settings.mode == "shared":
        runs = [*plan.missing_references(), plan.shared]
    elif settings.mode == "references":
        runs = [lambda task=task: plan.reference(task) for task in tasks]
    else:
        runs = [lambda: plan.reference(_named(tasks, settings))]
    _announce(plan, len(runs), accelerator)
    for make in runs:
        train(make(), accelerator)
    return 0


def _named(tasks: list[Task], settings: Settings) -> Task:
    for task in tasks:
        if task.name == settings.task:
            return task
    raise UsageError(f"task {settings.task!r} is not in {settings.shards}: choose {', '.join(t.name for t in tasks)}")


class Plan:
    """Which networks a command trains; all of them start from the same weights."""

    def __init__(self, settings: Settings, tasks: list[Task]) -> None:
        """Raises `UsageError` for an unknown network, `RunError` for an init file that does not fit it."""
        self.settings, self.tasks = settings, tasks
        self.policy = make_policy(settings.policy)
        self.spec = NetworkSpec(
            settings.network.name, settings.network.options, tasks[0].train_manifest.recipe["scale"]
        )
        network = self.spec.build(settings.seed)
        if settings.init:
            fill(network, load_weights(weights_file(Path(settings.init))), settings.init)
        self.initial: Weights = network.state_dict()
        self._init_sha256 = weights_digest(self.initial)

    @property
    def references_folder(self) -> Path:
        """Where the references' runs are."""
        return Path(self.settings.references or f"{self.settings.run}/references")

    def protocol(self, task: Task) -> dict[str, Any]:
        """What a reference must have in common with the shared run, so that equal steps mean equal training."""
        settings = self.settings
        return {
            "network": asdict(self.spec),
            "init_sha256": self._init_sha256,
            "interval_steps": settings.interval_steps,
            "batch_size": settings.batch_size,
            "lr": settings.lr,
            "ema": settings.ema,
            "flip": settings.flip,
            "loss": "l1",
            "train_rows": task.train_manifest.identity(),
            "val_rows": task.val_manifest.identity(),
        }

    def missing_references(self) -> list[Any]:
        """The references that the policy needs and that are not trained to the end; those that are must fit."""
        if not self.policy.needs_references:
            return []
        missing = []
        for task in self.tasks:
            trace = load_trace(self.references_folder / task.name)
            if trace:
                require_same_protocol(trace, self.protocol(task), self.references_folder / task.name)
            if trace is None or str(self.settings.iterations) not in trace.psnr_db:
                missing.append(lambda task=task: self.reference(task))
        return missing

    def reference(self, task: Task) -> RunSpec:
        """A network trained on one task alone."""
        folder = self.references_folder / task.name
        settings = replace(self.settings, mode="single", task=task.name, policy="uniform")
        trace = load_trace(folder) or Trace(task.name, self.protocol(task))
        require_same_protocol(trace, self.protocol(task), folder)
        return RunSpec(
            folder,
            f"reference {task.name}",
            settings,
            [task],
            self.spec,
            self.initial,
            make_policy("uniform"),
            trace=trace,
        )

    def shared(self) -> RunSpec:
        """The network trained on all tasks."""
        references = None
        if self.policy.needs_references:
            traces = [load_trace(self.references_folder / task.name) for task in self.tasks]
            references = References([trace for trace in traces if trace])
        return RunSpec(
            Path(self.settings.run),
            "shared",
            self.settings,
            self.tasks,
            self.spec,
            self.initial,
            self.policy,
            references=references,
        )


def _announce(plan: Plan, num_networks: int, accelerator: Accelerator) -> None:
    """Say what will be trained and what it costs, before it begins."""
    settings = plan.settings
    network = plan.spec.build(settings.seed)
    rows = ", ".join(f"{task.name} {task.train_manifest.rows}" for task in plan.tasks)
    accelerator.print(f"tasks (rows): {rows}; network {plan.spec.name}, {num_parameters(network):,} parameters")
    if settings.init is None:
        accelerator.print("all networks start from the same random weights; gaps mean more from a trained --init")
    if settings.mode == "shared" and is_finished(Path(settings.run), settings):
        return
    steps = num_networks * settings.iterations
    patch = plan.tasks[0].train_manifest.recipe["patch"]
    seconds = _seconds_per_sample(network.to(accelerator.device), patch, plan.spec.scale, accelerator.device)
    hours = steps * settings.batch_size / accelerator.num_processes * seconds / 3600
    accelerator.print(
        f"to train: {num_networks} networks x {settings.iterations} steps x {settings.batch_size} samples "
        f"on {accelerator.device}, at most about {hours:.1f} h (less what is already done)"
    )


def _seconds_per_sample(network: torch.nn.Module, patch: int, scale: int, device: torch.device) -> float:
    """Time of forward and backward of one sample, measured once after one warm-up."""
    lr = to_float(torch.zeros(1, 3, patch // scale, patch // scale, dtype=torch.uint8, device=device))
    hr = to_float(torch.zeros(1, 3, patch, patch, dtype=torch.uint8, device=device))
    for _ in range(2):
        start = time.perf_counter()
        l1(network(lr), hr).mean().backward()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(run_command(main))
