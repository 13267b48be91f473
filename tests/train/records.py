"""What a run leaves on disk, and what of it must be equal for two runs to be the same run."""

import hashlib
from pathlib import Path
from typing import Any

from shared.storage.json_lines import JsonLines
from train.networks.weights import load_weights, weights_digest
from train.record.state import latest_checkpoint


def metrics(run: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without what depends on the clock."""
    timings = {"samples_per_second", "step_seconds", "data_wait"}
    lines = JsonLines(run / "metrics.jsonl").read()
    return [{key: value for key, value in line.items() if key not in timings} for line in lines]


def intervals(run: Path) -> list[dict[str, Any]]:
    """Lines of intervals.jsonl; the last one is the boundary after the last interval."""
    return JsonLines(run / "intervals.jsonl").read()


def final_weights(run: Path) -> list[str]:
    """Hashes of the last checkpoint's weights, averaged weights and optimiser state."""
    folder = latest_checkpoint(run)
    assert folder is not None
    digests = [weights_digest(load_weights(folder / name)) for name in ("model.safetensors", "ema.safetensors")]
    return [*digests, hashlib.sha256((folder / "optimizer.pt").read_bytes()).hexdigest()]


def require_same_run(run: Path, expected: Path) -> None:
    """Same losses, counts, measurements, weights, quotas and networks, to the last bit."""
    assert metrics(run) == metrics(expected)
    assert intervals(run) == intervals(expected)
    assert final_weights(run) == final_weights(expected)
