"""Time the renderer, the torch backend and the training step: python -m scripts.bench NAME [options]

Machines are noisy, so compare only figures of one run. Where two programs are compared they take turns, and a ratio is
the median over the turns.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

from scripts.bench.settings import BENCHMARKS
from shared.config import parse
from shared.errors import UsageError, run_command


def main(argv: list[str]) -> int:
    """The command. Returns the exit code: 1 when a benchmark with a bound does not reach it."""
    if not argv or argv[0] in ("-h", "--help"):
        print(f"{__doc__}\n" + "\n".join(f"  {name:9s} {kind.__doc__}" for name, kind in BENCHMARKS.items()))
        return 0
    name, *rest = argv
    if name not in BENCHMARKS:
        raise UsageError(f"unknown benchmark {name!r}: choose one of {', '.join(BENCHMARKS)}")
    settings = parse(BENCHMARKS[name], rest, f"python -m scripts.bench {name}", BENCHMARKS[name].__doc__ or "")
    figures = import_module(f"scripts.bench.{name}").run(settings)
    if settings.out:
        Path(settings.out).write_text(json.dumps(figures, indent=2) + "\n")
    return 0 if figures.get("holds", True) else 1


if __name__ == "__main__":
    sys.exit(run_command(main))
