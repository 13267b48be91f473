"""Time the renderer, the torch backend and the training step: python -m scripts.bench NAME [options]

Machines are noisy, so compare only figures of one run. Where two programs are compared they take turns, and a ratio is
the median over the turns.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

from scripts.bench.settings import (
    BenchSettings,
    DegradeBenchSettings,
    LoaderBenchSettings,
    ParityBenchSettings,
    RenderBenchSettings,
    TrainBenchSettings,
)
from shared.config import parse
from shared.errors import UsageError, run_command

BENCHMARKS: dict[str, tuple[type[BenchSettings], str]] = {
    "render": (RenderBenchSettings, "Time the renderer: operators, codecs, whole shards, memory, several workers."),
    "degrade": (DegradeBenchSettings, "Time the torch backend: plans per sample against plans shared by a batch."),
    "loader": (LoaderBenchSettings, "Time the mixing loader against decoding alone and webdataset's RandomMix."),
    "train": (TrainBenchSettings, "Time a training step against a plain fp32 PyTorch loop of the same network."),
    "parity": (ParityBenchSettings, "Compare the torch backend with the CPU backend, noise off; exit code 1 if far."),
}
"""Options and purpose of each benchmark; module `scripts.bench.NAME` has `run(settings) -> figures`."""


def main(argv: list[str]) -> int:
    """The command. Returns the exit code: 1 when a benchmark with a bound does not reach it."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{__doc__}\n" + "\n".join(f"  {name:9s} {purpose}" for name, (_, purpose) in BENCHMARKS.items()))
        return 0
    name, *rest = argv
    if name not in BENCHMARKS:
        raise UsageError(f"unknown benchmark {name!r}: choose one of {', '.join(BENCHMARKS)}")
    kind, purpose = BENCHMARKS[name]
    settings = parse(kind, rest, f"python -m scripts.bench {name}", purpose)
    figures = import_module(f"scripts.bench.{name}").run(settings)
    if settings.out:
        Path(settings.out).write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures.get("holds", True) else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
