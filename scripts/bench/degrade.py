"""Time the torch backend on the device there is: plans drawn per sample against plans shared by a batch.

Shared plans are those that Real-ESRGAN's code can draw: kernels, noise levels, qualities and seeds per sample; one size
and mode of each resize, kind of noise, skip of the second blur and order of the last step for the whole batch. Both run
through the same operators of ours, so the ratio is the cost of drawing everything per sample. Every batch has fresh
plans; the host's part of the work is timed apart, because loader workers do it ahead.
"""

import importlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scripts.bench.harness import Figures, accelerator, cost_of, forget_peak, machine, peak_mb, show_figures
from scripts.bench.settings import DegradeBenchSettings
from shared.degradation import gpu
from shared.degradation.gpu import BUDGET_BYTES, execute, working_bytes
from shared.degradation.gpu_steps import Steps, steps_of
from shared.degradation.partition import Subspace, get_subspace
from shared.degradation.plan import Plan, draw_plan
from shared.degradation.presets import get_space
from shared.errors import UsageError

Calls = Sequence[Callable[[], Any]]
LEAST_RATIO = 3
"""How many times as long as ours the peer must take on a GPU."""


def run(settings: DegradeBenchSettings) -> dict[str, Any]:
    """Print and return the figures. Raises `UsageError` for a peer that is not there."""
    peer = load_peer(settings.peer) if settings.peer else None
    device = accelerator()
    on_gpu = device.type == "cuda"
    batch, batches = settings.batch or (48 if on_gpu else 4), settings.batches or (20 if on_gpu else 3)
    budget_bytes = settings.budget_bytes or BUDGET_BYTES
    print(f"{machine(device)}; batch {batch}, {settings.patch} px, space {settings.space}\n")
    subspace = get_subspace(get_space(settings.space), "full", "full")
    per_sample = [_plans(subspace, settings.patch, number, batch) for number in range(batches + 1)]
    shared = [[_with_shared_draws(plan, plans[0]) for plan in plans] for plans in per_sample]
    hr, lr_side = _images(batch, settings.patch, device), settings.patch // 4
    figures: dict[str, Any] = {"batch": batch, "patch": settings.patch, "space": settings.space}

    start = time.perf_counter()
    steps, steps_shared = (
        [[steps_of(p, lr_side, lr_side) for p in plans] for plans in many] for many in (per_sample, shared)
    )
    figures["host_ms"] = 1000 * (time.perf_counter() - start) / (2 * len(per_sample))
    kinds: dict[str, Calls] = {
        "per sample": [_ours(hr, one, budget_bytes) for one in steps],
        "batch shared": [_ours(hr, one, budget_bytes) for one in steps_shared],
    }
    if peer:
        pixels = hr.float() / 255
        kinds["peer"] = [lambda: peer(pixels)] * (batches + 1)
    forget_peak(device)
    found: Figures = {}
    for kind, calls in kinds.items():
        milliseconds = _time(calls, device)
        if kind == "per sample":  # before anything else has been on the device
            figures["peak_mib"] = peak_mb(device)
        found[kind] = {"ms a batch": milliseconds, "pairs/s": 1000 * batch / milliseconds}
        found[kind]["time / per sample"] = milliseconds / found["per sample"]["ms a batch"]
        found[kind] |= _effort(calls, device)
    show_figures(found)
    figures["plans"] = found
    figures["copy_gb_per_s"] = _copy_rate(device)
    figures["floor_ms"] = 1000 * found["per sample"]["GB read and written"] / figures["copy_gb_per_s"]
    bound = batch * max(working_bytes(plan, settings.patch, settings.patch) for plans in per_sample for plan in plans)
    figures["bound_mib"] = min(bound, budget_bytes) / 2**20
    print(f"host, ahead of the device: {figures['host_ms']:.1f} ms per batch")
    print(f"floor, those bytes at a copy's {figures['copy_gb_per_s']:.0f} GB/s: {figures['floor_ms']:.1f} ms")
    print(f"working memory: bound {figures['bound_mib']:.0f} MiB; peak of all memory: {figures['peak_mib']:.0f} MiB")
    figures["holds"] = not (on_gpu and peer) or found["peer"]["time / per sample"] >= LEAST_RATIO
    return figures


def load_peer(name: str) -> Callable[[Tensor], Any]:
    """The function MODULE:FUNCTION. Raises `UsageError` when there is none."""
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"--peer {name}: {error}; it must be MODULE:FUNCTION, the module on PYTHONPATH") from error


def _images(batch: int, patch: int, device: torch.device) -> Tensor:
    """Smooth images, uint8 [batch, 3, patch, patch]."""
    coarse = torch.rand(batch, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, (patch, patch), mode="bicubic").clamp(0, 1)
    return (smooth * 255).byte().to(device)


def _plans(subspace: Subspace, patch: int, number: int, batch: int) -> list[Plan]:
    rows = range(number * batch, (number + 1) * batch)
    return [draw_plan(subspace, seed=0, split="fly", row=row, height=patch, width=patch) for row in rows]


def _with_shared_draws(plan: Plan, first: Plan) -> Plan:
    """The plan with what Real-ESRGAN draws once per batch taken from `first`."""
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


def _time(calls: Calls, device: torch.device) -> float:
    """Milliseconds per call: of wall time with the device's work, or of CPU time where there is no accelerator.

    The first call warms up. On a GPU all calls do, because their sizes differ and their memory must be reserved before.
    """
    for call in calls if device.type == "cuda" else calls[:1]:
        call()
    cost = cost_of(lambda: [call() for call in calls[1:]], device)
    return 1000 * (cost.wall if device.type == "cuda" else cost.cpu) / (len(calls) - 1)


def _effort(calls: Calls, device: torch.device) -> dict[str, float]:
    """Launches and gigabytes per call, in the mean.

    On the CPU, images are grouped as on a GPU meanwhile, and a launch is an operation that a GPU would be sent.
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
    return {"launches": launches / len(calls), "GB read and written": counter.num_bytes / len(calls) / 1e9}


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
