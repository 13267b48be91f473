"""How close the torch backend comes to the CPU backend: the same plans and HR images, noise off, on one device.

The HR crops are of scikit-image's photographs; the plans are spread over the boxes of each space's own partition. There
is a row per space: the share of LR images that are identical, the PSNR of the worst plan and of all errors together,
and the share of values within one level.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from skimage import data

from scripts.bench.harness import accelerator, machine, show
from scripts.bench.settings import ParityBenchSettings
from shared.degradation import cpu, gpu
from shared.degradation.partition import partition
from shared.degradation.plan import Plan, draw_plan
from shared.degradation.presets import get_space
from shared.errors import UsageError

LEAST_IDENTICAL, LEAST_POOLED_DB, LEAST_WORST_DB, LEAST_WITHIN_ONE = 0.7, 58, 45, 0.995
"""What a space must reach with patches of 256 pixels."""
AT_ONCE = 16


@dataclass(frozen=True)
class Parity:
    """The LR images of one space. identical, within_one: shares. PSNR over R, G, B; 100 dB for no error at all.

    worst_row, largest: the plan with the lowest PSNR, and the largest difference of any, in levels.
    """

    space: str
    device: str
    plans: int
    identical: float
    worst_db: float
    worst_row: int
    pooled_db: float
    within_one: float
    largest: int

    def holds(self) -> bool:
        """Whether the four bounds hold."""
        reached = self.identical, self.worst_db, self.pooled_db, self.within_one
        least = LEAST_IDENTICAL, LEAST_WORST_DB, LEAST_POOLED_DB, LEAST_WITHIN_ONE
        return all(value >= bound for value, bound in zip(reached, least, strict=True))


def run(settings: ParityBenchSettings) -> dict[str, Any]:
    """Print and return a row per space. Raises `UsageError` for a device that is not there."""
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here")
    device = accelerator() if settings.device == "auto" else torch.device(settings.device)
    torch.set_num_threads(1)
    print(f"{machine(device)}; {settings.plans} plans per space, {settings.patch} px, noise off\n")
    found = [measure(space, settings.plans, (settings.patch, settings.patch - 1), device) for space in settings.spaces]
    show(["space", "identical", "worst plan", "all errors", "within 1 level", "largest"], [cells(one) for one in found])
    return {"spaces": [asdict(one) for one in found], "holds": all(one.holds() for one in found)}


def cells(found: Parity) -> list[str]:
    """The cells of one row of the table."""
    worst, pooled = f"{found.worst_db:.1f} dB (row {found.worst_row})", f"{found.pooled_db:.1f} dB"
    return [found.space, f"{found.identical:.1%}", worst, pooled, f"{found.within_one:.3%}", f"{found.largest}"]


def measure(space: str, count: int, sides: Sequence[int], device: torch.device) -> Parity:
    """Compare `count` plans; batches have HR crops of the given sides in turn."""
    errors = list(differences(space, count, sides, device))
    psnr_db = [psnr(np.square(error).mean()) for error in errors]
    values = np.abs(np.concatenate([error.ravel() for error in errors]))
    return Parity(
        space,
        device.type,
        count,
        identical=float(np.mean([not error.any() for error in errors])),
        worst_db=min(psnr_db),
        worst_row=int(np.argmin(psnr_db)),
        pooled_db=psnr(np.square(values).mean()),
        within_one=float((values <= 1).mean()),
        largest=int(values.max()),
    )


def differences(space: str, count: int, sides: Sequence[int], device: torch.device) -> Iterator[np.ndarray]:
    """The torch backend's levels less the CPU backend's, int [h, w, 3], for each of `count` plans."""
    for start, side in zip(range(0, count, AT_ONCE), itertools.cycle(sides), strict=False):
        rows = range(start, min(start + AT_ONCE, count))
        hr, chosen = crops(len(rows), side, seed=start), [quiet(plan) for plan in plans(space, rows, side)]
        hr_BCHW = torch.from_numpy(hr).permute(0, 3, 1, 2).contiguous().to(device)
        lr = gpu.render(hr_BCHW, chosen).permute(0, 2, 3, 1).cpu().numpy().astype(int)
        yield from (ours - cpu.render(image, plan) for ours, image, plan in zip(lr, hr, chosen, strict=True))


def crops(count: int, side: int, seed: int = 0) -> np.ndarray:
    """uint8 [count, side, side, 3] from photographs."""
    rng = np.random.default_rng(seed)
    photographs = itertools.cycle([data.astronaut(), data.coffee(), data.chelsea()])
    found = []
    for photograph in itertools.islice(photographs, count):
        y, x = (rng.integers(0, length - side) for length in photograph.shape[:2])
        found.append(photograph[y : y + side, x : x + side])
    return np.stack(found)


def plans(space: str, rows: Sequence[int], side: int) -> list[Plan]:
    """Plans spread over the boxes of the space's own partition."""
    boxes = partition(get_space(space))
    return [draw_plan(boxes[row % len(boxes)], seed=5, split="train", row=row, height=side, width=side) for row in rows]


def quiet(plan: Plan) -> Plan:
    """The plan with noise of level 0, which both backends leave as a clip to [0, 1]."""
    noise1, noise2 = (replace(noise, kind="gaussian", level=0.0) for noise in (plan.noise1, plan.noise2))
    return replace(plan, noise1=noise1, noise2=noise2)


def psnr(square_error: float) -> float:
    """dB for 8 bits; 100 without an error, as everywhere but in `shared.metrics`, which says infinity."""
    return float(min(100.0, 10 * np.log10(255**2 / max(square_error, 1e-9))))
