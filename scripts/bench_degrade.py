"""Time the torch backend: per-sample plans against batch-shared ones, on the device there is.

Batch-shared plans are those that Real-ESRGAN's code can draw: kernels, noise levels, qualities and seeds a sample; one
size and mode of each resize, kind of noise, skip of the second blur, and order of the last step for the whole batch.
Both run through the same operators of ours, so the ratio is what drawing everything a sample costs. Fresh plans in
every batch; what the host works out of them is timed apart, because loader workers do it ahead.

--peer times anybody's code in the same run: a function of HR images, float32 [B, 3, H, W] in [0, 1] on the device, that
returns their LR images. Machines are noisy: compare figures of one run only.
"""

import importlib
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # Python puts scripts/ there

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shared.config import option, parse
from shared.degradation import gpu
from shared.degradation.gpu import BUDGET_BYTES, execute, working_bytes
from shared.degradation.gpu_steps import Steps, steps_of
from shared.degradation.partition import Subspace, get_subspace
from shared.degradation.plan import Plan, sample_plan
from shared.degradation.space import get_space
from shared.errors import UsageError, run_command


@dataclass(frozen=True)
class DegradeBenchSettings:
    """What to time."""

    space: str = option("realesrgan", "degradation space, taken whole")
    patch: int = option(256, "side of the HR patch in pixels")
    batch: int = option(0, "pairs a batch; 0: 48 on an accelerator, 4 on the CPU")
    batches: int = option(0, "batches timed of each kind; 0: 20 on an accelerator, 3 on the CPU")
    budget_bytes: int = option(BUDGET_BYTES, "working memory in bytes")
    peer: str | None = option(None, "MODULE:FUNCTION, other code to time in the same run")
    out: str | None = option(None, "JSON file for the figures")


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(DegradeBenchSettings, argv, "python scripts/bench_degrade.py", __doc__ or "")
    peer = load_peer(settings.peer) if settings.peer else None
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    figures = bench(settings, device, peer)
    if settings.out:
        Path(settings.out).write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def load_peer(name: str) -> Callable[[Tensor], Any]:
    """The function MODULE:FUNCTION. Raises `UsageError` when there is none."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--peer {name}: {error}; it must be MODULE:FUNCTION, the module on PYTHONPATH") from error


def bench(
    settings: DegradeBenchSettings, device: torch.device, peer: Callable[[Tensor], Any] | None = None
) -> dict[str, Any]:
    """Print and return the figures."""
    on_gpu = device.type == "cuda"
    if not on_gpu:
        torch.set_num_threads(1)
    batch, batches = settings.batch or (48 if on_gpu else 4), settings.batches or (20 if on_gpu else 3)
    name = torch.cuda.get_device_name() if on_gpu else "CPU, one thread"
    print(f"{name}, torch {torch.__version__}; batch {batch}, {settings.patch} px, space {settings.space}")
    subspace = get_subspace(get_space(settings.space), "full", "full")
    per_sample = [_plans(subspace, settings.patch, number, batch) for number in range(batches + 1)]
    shared = [[_with_shared_draws(plan, plans[0]) for plan in plans] for plans in per_sample]
    hr, lr_side = _pictures(batch, settings.patch, device), settings.patch // 4
    figures: dict[str, Any] = {"device": name, "batch": batch, "patch": settings.patch, "space": settings.space}

    start = time.perf_counter()
    steps, steps_shared = (
        [[steps_of(p, lr_side, lr_side) for p in plans] for plans in many] for many in (per_sample, shared)
    )
    figures["host_ms"] = 1000 * (time.perf_counter() - start) / (2 * len(per_sample))
    todo: dict[str, list[Callable[[], Any]]] = {
        "per_sample": [_ours(hr, one, settings.budget_bytes) for one in steps],
        "batch_shared": [_ours(hr, one, settings.budget_bytes) for one in steps_shared],
    }
    if peer:
        pictures = hr.float() / 255
        todo["peer"] = [lambda: peer(pictures)] * (batches + 1)
    for kind, calls in todo.items():
        milliseconds = _time(calls, device)
        if on_gpu and kind == "per_sample":  # before anything else has been on the device
            figures["peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
        figures[kind] = {"ms": milliseconds, "pairs_per_s": 1000 * batch / milliseconds, **_effort(calls, device)}
        print(
            f"{kind.replace('_', ' '):13s}{milliseconds:9.1f} ms a batch, {1000 * batch / milliseconds:8.0f} pairs/s; "
            f"{figures[kind]['launches']:5.0f} launches, {figures[kind]['gigabytes']:6.2f} GB read and written"
        )
    print(f"host, ahead of it: {figures['host_ms']:.1f} ms a batch")
    for kind in list(todo)[1:]:
        figures[f"ratio_to_{kind}"] = figures[kind]["ms"] / figures["per_sample"]["ms"]
        print(f"per sample / {kind.replace('_', ' ')}: {figures[f'ratio_to_{kind}']:.2f} times the pairs/s")
    figures["copy_gb_per_s"] = _copy_rate(device)
    figures["floor_ms"] = 1000 * figures["per_sample"]["gigabytes"] / figures["copy_gb_per_s"]
    print(
        f"floor: those bytes at {figures['copy_gb_per_s']:.0f} GB/s, as copying has, are {figures['floor_ms']:.1f} ms"
    )
    bound = batch * max(working_bytes(plan, settings.patch, settings.patch) for plans in per_sample for plan in plans)
    figures["bound_mib"] = min(bound, settings.budget_bytes) / 2**20
    print(f"working memory: bound {figures['bound_mib']:.0f} MiB", end="")
    if on_gpu:
        print(f", peak of all memory {figures['peak_mib']:.0f} MiB", end="")
    print()
    return figures


def _pictures(batch: int, patch: int, device: torch.device) -> Tensor:
    """Smooth pictures, uint8 [batch, 3, patch, patch]."""
    coarse = torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, (patch, patch), mode="bicubic").clamp(0, 1)
    return (smooth * 255).byte().to(device)


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


def _ours(hr: Tensor, steps: Sequence[Steps], budget_bytes: int) -> Callable[[], Any]:
    return lambda: execute(hr, steps, budget_bytes=budget_bytes)


def _time(calls: Sequence[Callable[[], Any]], device: torch.device) -> float:
    """Milliseconds a call, the device's work included, or of CPU time where there is none.

    The first warms up; on a GPU all do, whose sizes differ, so that its memory is reserved before.
    """
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    for call in calls if device.type == "cuda" else calls[:1]:
        call()
    _finish(device)
    start = clock()
    for call in calls[1:]:
        call()
    _finish(device)
    return 1000 * (clock() - start) / (len(calls) - 1)


def _finish(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def _effort(calls: Sequence[Callable[[], Any]], device: torch.device) -> dict[str, float]:
    """Launches and gigabytes of a call, in the mean.

    On the CPU, pictures are grouped as on a GPU meanwhile, and a launch is an operation that one would have to be sent.
    """
    with Counter() as counter, mock.patch.dict(gpu.WASTED_PIXELS, clear=True):
        for call in calls:
            call()
    launches = counter.operations
    if device.type == "cuda":
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
            for call in calls:
                call()
            torch.cuda.synchronize()
        launches = sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profiled.events())
    return {"launches": launches / len(calls), "gigabytes": counter.num_bytes / len(calls) / 1e9}


class Counter(TorchDispatchMode):
    """Counts operations that compute or copy, and the bytes that they read and write, each value once an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.num_bytes = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation."""
        result, name = function(*args, **(kwargs or {})), function.__name__
        is_view = any(a.alias_info and not a.alias_info.is_write for a in function._schema.arguments)
        if not is_view and "empty" not in name and "unsafe_view" not in name:
            self.operations += 1
            inputs = {name: value for name, value in (kwargs or {}).items() if name != "out"}
            read = [] if name.startswith(("new_", "zeros", "full", "arange")) else tree_leaves((args, inputs))
            read = read[1:] if name.startswith("copy_") else read
            of_inputs = {(t.data_ptr(), t.shape): _stored_bytes(t) for t in read if isinstance(t, Tensor)}
            self.num_bytes += sum(of_inputs.values())
            self.num_bytes += sum(_stored_bytes(t) for t in tree_leaves(result) if isinstance(t, Tensor))
        return result


def _stored_bytes(tensor: Tensor) -> int:
    """Bytes of the values that a tensor shows, repeated ones (of stride 0) counted once."""
    sides = [side for side, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return math.prod(sides) * tensor.element_size()


def _copy_rate(device: torch.device) -> float:
    """GB/s read and written by a copy of a large tensor."""
    source = torch.empty((1 << 28) if device.type == "cuda" else (1 << 24), dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    calls = [lambda: target.copy_(source)] * 5
    return 2 * source.nbytes / 1e6 / _time(calls, device)


if __name__ == "__main__":
    sys.exit(run_command(main))
