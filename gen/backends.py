"""Backends: what executes the plans of a shard's rows. One entry of `BACKENDS` each; a recipe's digest holds its name.

All backends draw the same plans, noise included; their images are equal up to rounding.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from shared.degradation.plan import Plan
from shared.errors import RunError, UsageError

Images = Sequence[np.ndarray]


@dataclass(frozen=True)
class Backend:
    """How a backend renders.

    rows: number of rows that go through each step together; no byte depends on it.
    libraries: packages whose version can change a pixel or a byte.
    render: (HR images of one size, uint8 or sharpened float32, plans, scale) -> LR images, uint8 RGB.
    require: raises `RunError` where this machine cannot render with it.
    """

    rows: int
    libraries: tuple[str, ...]
    render: Callable[[Images, Sequence[Plan], int], list[np.ndarray]]
    require: Callable[[], None]


def degrade(backend: str, hr: Images, plans: Sequence[Plan], scale: int, usm: bool) -> list[np.ndarray]:
    """LR of stored HR crops, uint8 RGB; with `usm`, from the sharpened crops as Real-ESRGAN does."""
    from shared.degradation import cpu  # with OpenCV and Numba, which commands load after their arguments are checked

    return BACKENDS[backend].render([cpu.sharpen(image) for image in hr] if usm else hr, plans, scale)


def get_backend(name: str) -> Backend:
    """The backend of that name. Raises `UsageError` for an unknown one."""
    if name not in BACKENDS:
        raise UsageError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    return BACKENDS[name]


@lru_cache(maxsize=8)
def versions(backend: str) -> dict[str, str]:
    """Library versions and the kind of machine, which decide how a pixel is rounded."""
    found = {name: _opencv() if name == OPENCV else version(name) for name in BACKENDS[backend].libraries}
    return found | {"machine": platform.machine()}


def _opencv() -> str:
    """Version of OpenCV, whichever package it was installed from."""
    for kind in ("", "-headless"):
        for name in (OPENCV, "opencv-contrib-python"):
            with suppress(PackageNotFoundError):
                return version(name + kind)
    import cv2

    return cv2.__version__


def _on_cpu(hr: Images, plans: Sequence[Plan], scale: int) -> list[np.ndarray]:
    from shared.degradation import cpu

    return [cpu.render(image, plan, scale) for image, plan in zip(hr, plans, strict=True)]


def _on_gpu(hr: Images, plans: Sequence[Plan], scale: int) -> list[np.ndarray]:
    from shared.degradation.gpu_arrays import render_arrays  # torch takes seconds to import

    return render_arrays(hr, plans, scale)


def _require_gpu() -> None:
    from shared.degradation.gpu_arrays import has_accelerator

    if not has_accelerator():
        raise RunError("--backend gpu: torch sees no GPU here; use --backend cpu, or a machine with one")


OPENCV = "opencv-python"
CPU_LIBRARIES = ("numpy", OPENCV, "turbojpeg", "scipy", "isal", "numba")
BACKENDS: Mapping[str, Backend] = {
    "cpu": Backend(8, CPU_LIBRARIES, _on_cpu, lambda: None),
    "gpu": Backend(48, (*CPU_LIBRARIES, "torch"), _on_gpu, _require_gpu),
}
