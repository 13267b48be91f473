"""The benchmarks and their options. Nothing heavy is imported here, so that a wrong option is answered at once."""

from dataclasses import dataclass

from shared.config import option
from train.settings import NetworkSettings


@dataclass(frozen=True)
class BenchSettings:
    """What every benchmark can be asked for."""

    out: str | None = option(None, "JSON file for the figures")


@dataclass(frozen=True)
class RenderBenchSettings(BenchSettings):
    """Time the renderer: operators, codecs, whole shards, memory, several workers."""

    hr: str = option("photos", "folder of HR images, or photos")
    space: str = option("paper", "degradation space")
    patch: int = option(256, "side of the HR crop in pixels")
    rows: int = option(100, "rows per subspace")
    workers: int = option(2, "largest number of worker processes")
    shards: int = option(8, "shards per subspace that are rendered one after the other to watch memory")


@dataclass(frozen=True)
class DegradeBenchSettings(BenchSettings):
    """Time the torch backend: plans per sample against plans shared by a batch."""

    space: str = option("realesrgan", "degradation space, taken whole")
    patch: int = option(256, "side of the HR patch in pixels")
    batch: int = option(0, "pairs in a batch; 0: 48 on an accelerator, 4 on the CPU")
    batches: int = option(0, "batches of each kind that are timed; 0: 20 on an accelerator, 3 on the CPU")
    budget_bytes: int = option(0, "working memory in bytes; 0: the backend's default")
    peer: str | None = option(
        None,
        "MODULE:FUNCTION, other code to time in the same run; it takes HR images, float32 [B, 3, H, W] in [0, 1] on "
        "the device, and returns their LR images",
    )


@dataclass(frozen=True)
class LoaderBenchSettings(BenchSettings):
    """Time the mixing loader against decoding alone and webdataset's RandomMix."""

    shards: str | None = option(None, "folder with datasets of four tasks (default: they are rendered)")
    hr: str = option("photos", "folder of HR images to render from, or photos")
    rows: int = option(192, "rows to render per task")
    steps: int = option(30, "batches of 48 that a side delivers in a turn")
    turns: int = option(3, "turns of each side")
    memory_samples: int = option(6000, "samples over which memory is watched")
    step_seconds: float = option(0.15, "length of the simulated training step in seconds")


@dataclass(frozen=True)
class TrainBenchSettings(BenchSettings):
    """Time a training step against a plain fp32 PyTorch loop of the same network."""

    network: NetworkSettings = option(NetworkSettings, "the network, as of train/run.py")
    shards: str | None = option(None, "folder with datasets (default: two small ones are rendered)")
    patch: int = option(256, "side of the HR patch of the rendered shards, pixels")
    batch: int = option(0, "samples in a step; 0: 48 on an accelerator, 4 on the CPU")
    steps: int = option(0, "steps timed in a turn; 0: 30 on an accelerator, 4 on the CPU")
    turns: int = option(3, "turns of each loop")
    workers: int = option(2, "loader workers of either loop; an accelerator may be faster than 2")
    compile: bool = option(False, "time torch.compile too")


@dataclass(frozen=True)
class ParityBenchSettings(BenchSettings):
    """Compare the torch backend with the CPU backend, noise off; exit code 1 if far."""

    spaces: list[str] = option(lambda: ["paper", "paper-wide", "paper-realesrgan", "realesrgan"], "degradation spaces")
    plans: int = option(500, "plans per space")
    patch: int = option(256, "side of the HR crop in pixels; every other batch is one pixel smaller")
    device: str = option("auto", "cpu, cuda, or auto: an accelerator if there is one")


BENCHMARKS = {
    "render": RenderBenchSettings,
    "degrade": DegradeBenchSettings,
    "loader": LoaderBenchSettings,
    "train": TrainBenchSettings,
    "parity": ParityBenchSettings,
}
"""Options of each benchmark, whose docstring is its purpose; `scripts.bench.NAME` has `run(settings) -> figures`."""
