"""What `train/run.py` does once its settings are known to be sound: it trains the networks of a plan, one by one."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace

import cv2
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState

from shared.command import next_step
from shared.errors import UsageError
from shared.mixing.pool import find_pool
from shared.mixing.tasks import Task
from shared.rebalance.clusters import FEW_PHOTOGRAPHS
from shared.storage.places import folders_below, place
from shared.storage.remote import READ_ONLY, Remote
from shared.text import counted, without_password
from train.forecast import Forecast, measure
from train.grouping.trials import cost_samples
from train.launcher import PARTS, require_all_processes
from train.loop import RunSpec, train
from train.networks.build import forbid_tf32, num_parameters
from train.record.references import PACK, save_pack
from train.record.run_log import is_finished
from train.record.trackers import TENSORBOARD, require_trackers
from train.settings import TrainSettings
from train.training_plan import SHARED, TrainingPlan


def num_threads(num_processes: int) -> int:
    """CPU threads of a training process: its share of the cores, or what `REALSR_THREADS` says.

    Raises `UsageError` unless that is a number from 1.
    """
    given = os.environ.get("REALSR_THREADS")
    if not given:
        return max(1, len(os.sched_getaffinity(0)) // num_processes)
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"REALSR_THREADS is {given!r}: it must be a number of CPU threads, at least 1")
    return int(given)


def train_all(settings: TrainSettings, tasks: list[Task]) -> int:
    """Train what the settings ask for on these tasks, or print it (--dry-run). Returns the exit code."""
    cv2.setNumThreads(1)  # OpenCV's own threads do not survive the fork of a loader worker, which would then hang
    pool = find_pool(settings.hr, tasks, settings.seed) if settings.hr else None
    accelerator = make_accelerator(settings)
    require_trackers(settings.tracker_names)
    if settings.batch_size % (accelerator.num_processes * settings.accumulate):
        raise UsageError(
            f"batch_size is {settings.batch_size}: not a multiple of the {accelerator.num_processes} processes"
            + (f" times --accumulate {settings.accumulate}" if settings.accumulate > 1 else "")
        )
    if accelerator.device.type == "cpu":
        torch.set_num_threads(num_threads(accelerator.num_processes))  # launchers say 1
    training_plan = TrainingPlan(settings, tasks, pool)
    training_plan.require_whole_batches(accelerator.num_processes * settings.accumulate)
    jobs = training_plan.jobs()
    if accelerator.is_main_process:
        _announce(training_plan, jobs, accelerator)
    if settings.dry_run:
        return 0
    if training_plan.lacks_groups:
        training_plan.make_groups(accelerator)
        assert training_plan.grouping
        print(f"groups of {training_plan.groups_file}: {training_plan.grouping.describe()}")
    for job in jobs:
        if job.title == SHARED and training_plan.policy.needs_mixture:
            if accelerator.is_main_process and training_plan.lacks_mixture:
                print("\n".join(training_plan.choose_mixture()), flush=True)
            accelerator.wait_for_everyone()  # for the file of the mixture
        train(training_plan.ready(job), accelerator)
    if accelerator.is_main_process:
        _finish(training_plan)
    return 0


def _finish(training_plan: TrainingPlan) -> None:
    """Write the pack of references that were trained, and say what there is now and what can be done with it."""
    settings, pilot, pack = training_plan.settings, training_plan.pilot_folder, training_plan.references_folder / PACK
    if settings.mode == "shared":
        print(f"{settings.run}: the network, its logs and its curves\n{next_step('report', settings.run)}")
    elif settings.mode == "pilot":
        save_pack(training_plan.pilot_traces(), pilot / PACK)
        print(f"{pilot}: short references\n{next_step('plan-mixture', settings.run)}")
    elif settings.mode == "references":
        save_pack(training_plan.traces(), pack)
        print(f"{pack}: the references of all tasks in one file, for --references")


def make_accelerator(settings: TrainSettings) -> Accelerator:
    """The launcher's side of training. Raises `UsageError` for a precision that the machine has not."""
    if settings.precision == "fp16" and not torch.accelerator.is_available():
        raise UsageError("precision is fp16: half precision needs a GPU; take bf16 or fp32")
    forbid_tf32()
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)  # older versions need it
    AcceleratorState._reset_state()  # a process may train again with another precision; Accelerate keeps the first one
    os.environ.pop(PARTS, None)  # Accelerate would divide the losses by it; `--accumulate` does that
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision="no" if settings.precision == "fp32" else settings.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # equal already: they are computed
    )
    require_all_processes(os.environ, accelerator.num_processes)
    accelerator.wait_for_everyone()  # one that ends with an error must not be missed by those who are still to come
    return accelerator


def repeats(settings: TrainSettings, tasks: Sequence[Task]) -> str:
    """How often stored rows are shown, in words; empty where none are."""
    samples, fewest = settings.iterations * settings.batch_size, min(task.num_rows for task in tasks)
    if settings.source in ("fly", "gpu") or not fewest:
        return ""
    alone, shared = samples / fewest, samples / len(tasks) / fewest
    text = f"a stored row is shown up to {alone:.3g} times to a reference, {shared:.3g} times at equal volumes"
    limit = settings.max_repeats
    return text if limit is None else f"{text}; after {limit:g} times samples are made on the fly (max_repeats)"


def _announce(training_plan: TrainingPlan, jobs: Sequence[RunSpec], accelerator: Accelerator) -> None:
    """Say what will be trained and what it costs, before it begins."""
    settings, spec, tasks = training_plan.settings, training_plan.spec, training_plan.tasks
    ranks, device = accelerator.num_processes, accelerator.device
    rows = ", ".join(f"{task.name} {task.num_rows}" for task in tasks)
    size = num_parameters(spec.load(training_plan.initial, "init"))
    print(f"tasks (rows): {rows}; network {spec.name}, {size:,} parameters")
    if training_plan.pool:
        print(f"HR of samples on the fly: {len(training_plan.pool)} images of {without_password(settings.hr or '')}")
    for note in (*training_plan.notes, *_left_out(training_plan)):
        print(note)
    if settings.init is None:
        print("all networks start from the same random weights; gaps mean more from a trained --init")
    photographs = min((len(task.validation.photographs) for task in tasks if task.validation), default=0)
    if photographs < FEW_PHOTOGRAPHS:
        few = counted(photographs, "photograph")
        print(f"note: validation has {few}: gaps have large errors with fewer than {FEW_PHOTOGRAPHS}")
    if told := repeats(settings, tasks):
        print(told)
    if training_plan.uses_groups and training_plan.grouping:
        print(f"groups of {training_plan.groups_file}: {training_plan.grouping.describe()}")
    if not training_plan.lacks_groups and all(is_finished(job.folder, job.settings.iterations) for job in jobs):
        print("nothing is left to do")
        return
    stages = dict.fromkeys([settings.stage, *(job.settings.stage for job in jobs if job.steps_left)])
    staged = {stage: replace(settings, stage=stage) for stage in stages}
    costs = {
        stage: measure(spec, training_plan.initial, each, tasks[0], ranks, device, accelerator.autocast)
        for stage, each in staged.items()
    }
    search_samples = cost_samples(settings, tasks[0]) if training_plan.lacks_groups else None
    forecast = Forecast(settings, spec, jobs, costs, ranks, device, search_samples)
    print("\n".join([*(forecast.plan() if settings.dry_run else ()), forecast.summary()]), flush=True)
    if jobs and TENSORBOARD in settings.tracker_names:
        print(f"curves: tensorboard --logdir {jobs[-1].folder}", flush=True)


def _left_out(training_plan: TrainingPlan) -> list[str]:
    """The tasks that have a validation set and no shards, which are trained only if they are named."""
    settings, used = training_plan.settings, {task.name for task in training_plan.tasks}
    shards = place(settings.shards)
    if settings.tasks or (isinstance(shards, Remote) and shards.protocol in READ_ONLY):
        return []
    names = [folder.name.removesuffix("-val") for folder in folders_below(shards) if folder.name.endswith("-val")]
    return [
        f"task {name} has a validation set and no shards: it is left out; name it in --tasks to have its samples made "
        "on the fly"
        for name in names
        if name not in used
    ]
