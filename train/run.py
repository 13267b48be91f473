"""Train super-resolution networks on mixed shard streams whose volumes follow the measured imbalance of the tasks.

With no options: reads shards/, trains the single-task references that are missing, then the shared network, into
runs/default. Running the same command again resumes where it stopped.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # a launcher puts train/ there
    import_module("train")  # as `python -m train.run` does, before PyTorch

import cv2
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from shared.config import parse
from shared.errors import UsageError, run_command
from shared.mixing.pool import find_pool
from shared.mixing.tasks import find_tasks
from shared.shards.cache import ShardCache, default_folder
from shared.storage.remote import place
from train.agenda import Agenda
from train.forecast import Forecast, Job, Search, measure
from train.grouping.trials import cost_samples
from train.loop import train
from train.networks import num_parameters
from train.processes import require_all_processes
from train.record.journal import is_finished
from train.record.references import PACK, save_pack
from train.record.trackers import TENSORBOARD, require_trackers
from train.settings import Settings

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def main(argv: list[str]) -> int:
    """The command; see `Settings`. Returns the exit code."""
    settings = parse(Settings, argv, "accelerate launch train/run.py", __doc__ or "")
    cv2.setNumThreads(1)  # OpenCV's own threads do not survive the fork of a loader worker, which would then hang
    on_the_fly = settings.source in ("fly", "gpu") or settings.hr is not None
    cache = ShardCache(Path(settings.cache or default_folder()), int(settings.cache_gb * 1e9))
    shards = place(settings.shards)
    tasks = find_tasks(shards, settings.tasks, on_the_fly=on_the_fly, patch=settings.patch, cache=cache)
    pool = find_pool(settings.hr, tasks, settings.seed) if settings.hr else None
    accelerator = make_accelerator(settings)
    require_trackers(settings.tracker_names)
    if settings.batch_size % (accelerator.num_processes * settings.accumulate):
        raise UsageError(
            f"batch_size is {settings.batch_size}: not a multiple of the {accelerator.num_processes} processes"
            + (f" times --accumulate {settings.accumulate}" if settings.accumulate > 1 else "")
        )
    if accelerator.device.type == "cpu":
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // accelerator.num_processes))  # launchers say 1
    agenda = Agenda(settings, tasks, pool)
    jobs = agenda.jobs()
    if accelerator.is_main_process:
        _announce(agenda, jobs, accelerator)
    if settings.dry_run:
        return 0
    if agenda.lacks_groups:
        agenda.make_groups(accelerator)
        assert agenda.grouping
        print(f"groups of {agenda.groups_file}: {agenda.grouping.describe()}")
    for number, job in enumerate(jobs, start=1):
        later_steps = sum(settings.iterations - later.steps_done for later in jobs[number:])
        train(replace(job.make(), later_steps=later_steps), accelerator)
    if settings.mode == "shared" and accelerator.is_main_process:
        print(f"a page about it: python -m train.report {settings.run}")
    if settings.mode == "references" and accelerator.is_main_process:
        save_pack(agenda.traces(), agenda.references_folder / PACK)
        print(f"{agenda.references_folder / PACK}: the references of all tasks in one file, for --references elsewhere")
    return 0


def make_accelerator(settings: Settings) -> Accelerator:
    """The launcher's side of training. Raises `UsageError` for a precision that the machine has not."""
    if settings.precision == "fp16" and not torch.accelerator.is_available():
        raise UsageError("precision is fp16: half precision needs a GPU; take bf16 or fp32")
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=PRECISIONS[settings.precision],
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],  # equal already: they are computed
    )
    require_all_processes(os.environ, accelerator.num_processes)
    accelerator.wait_for_everyone()  # one that ends with an error must not be missed by those who are still to come
    return accelerator


def _announce(agenda: Agenda, jobs: Sequence[Job], accelerator: Accelerator) -> None:
    """Say what will be trained and what it costs, before it begins."""
    settings, spec, ranks, device = agenda.settings, agenda.spec, accelerator.num_processes, accelerator.device
    rows = ", ".join(f"{task.name} {task.num_rows}" for task in agenda.tasks)
    size = num_parameters(spec.load(agenda.initial, "init"))
    print(f"tasks (rows): {rows}; network {spec.name}, {size:,} parameters")
    if agenda.pool:
        print(f"HR of samples on the fly: {len(agenda.pool)} pictures of {settings.hr}")
    if settings.init is None:
        print("all networks start from the same random weights; gaps mean more from a trained --init")
    if agenda.uses_groups and agenda.grouping:
        print(f"groups of {agenda.groups_file}: {agenda.grouping.describe()}")
    if not agenda.lacks_groups and all(is_finished(job.folder, settings) for job in jobs):
        print("nothing is left to do")
        return
    search = Search(settings.grouping, cost_samples(settings, agenda.tasks[0])) if agenda.lacks_groups else None
    cost = measure(spec, agenda.initial, settings, agenda.tasks[0], ranks, device, accelerator.autocast)
    forecast = Forecast(settings, spec, jobs, cost, ranks, device, search)
    print("\n".join([*(forecast.plan() if settings.dry_run else ()), forecast.summary()]), flush=True)
    if jobs and TENSORBOARD in settings.tracker_names:
        print(f"curves: tensorboard --logdir {jobs[-1].folder}", flush=True)


if __name__ == "__main__":
    sys.exit(run_command(main))
