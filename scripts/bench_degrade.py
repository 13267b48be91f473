"""Time the torch backend: per-sample plans against batch-shared ones, on the device there is.

Batch-shared plans are those that Real-ESRGAN's code can draw: kernels, noise levels, qualities and seeds a sample; one
size and mode of each resize, kind of noise, skip of the second blur, and order of the last step for the whole batch.
Both run through the same operators of ours, so the ratio is what drawing everything a sample costs. Fresh plans in
every batch; their kernels are decomposed on the host, which is timed apart because loader workers can do it ahead.
Machines are noisy: compare figures of one run only.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from shared.config import option, parse
from shared.degradation.gpu import BUDGET_BYTES, render, working_bytes
from shared.degradation.kernels import separable_terms
from shared.degradation.partition import Subspace, get_subspace
from shared.degradation.plan import Plan, sample_plan
from shared.degradation.space import get_space
from shared.errors import run_command


@dataclass(frozen=True)
class Settings:
    """What to time."""

    space: str = option("realesrgan", "degradation space, taken whole")
    patch: int = option(256, "side of the HR patch in pixels")
    batch: int = option(0, "pairs a batch; 0: 48 on an accelerator, 4 on the CPU")
    batches: int = option(0, "batches timed of each kind; 0: 20 on an accelerator, 3 on the CPU")
    budget_bytes: int = option(BUDGET_BYTES, "working memory in bytes")


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(Settings, argv, "python scripts/bench_degrade.py", __doc__ or "")
    has_gpu = torch.cuda.is_available()
    if not has_gpu:
        torch.set_num_threads(1)
    device = torch.device("cuda" if has_gpu else "cpu")
    batch, batches = settings.batch or (48 if has_gpu else 4), settings.batches or (20 if has_gpu else 3)
    subspace = get_subspace(get_space(settings.space), "full", "full")
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(batch, 3, 16, 16, generator=generator)
    hr = torch.nn.functional.interpolate(coarse, (settings.patch,) * 2, mode="bicubic").clamp(0, 1)
    hr = (hr * 255).byte().to(device)
    name = torch.cuda.get_device_name() if has_gpu else "CPU, one thread"
    print(f"{name}; batch {batch}, {settings.patch} px, space {settings.space}, {batches} batches of each kind")

    per_sample = [_plans(subspace, settings.patch, number, batch) for number in range(batches + 1)]
    shared = [[_with_shared_draws(plan, plans[0]) for plan in plans] for plans in per_sample]
    rates = {}
    for kind, many_plans in (("per sample", per_sample), ("batch-shared", shared)):
        rates[kind] = _bench(kind, hr, many_plans, settings.budget_bytes)
    print(f"per sample / batch-shared {rates['per sample'] / rates['batch-shared']:22.2f}")
    bound = batch * max(working_bytes(plan, settings.patch, settings.patch) for plans in per_sample for plan in plans)
    print(f"working memory: bound {min(bound, settings.budget_bytes) / 2**20:.0f} MiB", end="")
    print(f", peak of all memory {torch.cuda.max_memory_allocated() / 2**20:.0f} MiB" if has_gpu else "")
    return 0


def _plans(subspace: Subspace, patch: int, number: int, batch: int) -> list[Plan]:
    rows = range(number * batch, (number + 1) * batch)
    return [sample_plan(subspace, seed=0, split="fly", row=row, height=patch, width=patch) for row in rows]


def _with_shared_draws(plan: Plan, first: Plan) -> Plan:
    """The plan with what Real-ESRGAN draws once a batch taken from `first`."""
    noises = {}
    for name in ("noise1", "noise2"):
        own, one = getattr(plan, name), getattr(first, name)
        noises[name] = replace(own, kind=one.kind, level=own.level if own.kind == one.kind else one.level)
    return replace(
        plan,
        resize1=first.resize1,
        resize2=first.resize2,
        blur2=(plan.blur2 or first.blur2) if first.blur2 else None,
        final=replace(plan.final, order=first.final.order, resize_mode=first.final.resize_mode),
        **noises,
    )


def _bench(kind: str, hr: Tensor, many_plans: Sequence[Sequence[Plan]], budget_bytes: int) -> float:
    """Print the times of a kind of batch; the first batch warms up. Returns pairs a second, kernels ready."""
    kernels_s = render_s = 0.0
    for number, plans in enumerate(many_plans):
        separable_terms.cache_clear()
        start = time.perf_counter()
        for plan in plans:
            for operator, parameters in plan.steps(1, 1):
                if operator == "blur":
                    separable_terms(parameters)
        ready = time.perf_counter()
        render(hr, plans, budget_bytes=budget_bytes)
        if hr.device.type == "cuda":
            torch.cuda.synchronize()
        if number > 0:
            kernels_s, render_s = kernels_s + ready - start, render_s + time.perf_counter() - ready
    num_batches = len(many_plans) - 1
    rate = num_batches * len(hr) / render_s
    print(
        f"{kind:14s}{1000 * render_s / num_batches:9.1f} ms a batch, {rate:8.0f} pairs/s; kernels on the host "
        f"{1000 * kernels_s / num_batches:6.1f} ms a batch, {num_batches * len(hr) / (render_s + kernels_s):8.0f} "
        "pairs/s in all"
    )
    return rate


if __name__ == "__main__":
    sys.exit(run_command(main))
