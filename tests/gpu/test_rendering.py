"""`gen.render --backend gpu` on a GPU: worker processes share it, and the CPU device makes the same pictures."""

from pathlib import Path

import numpy as np
import torch

import gen.render
from shared.degradation import gpu
from shared.degradation.plan import Plan
from shared.shards.reader import Dataset


def test_workers_share_the_device_and_their_shards_are_those_of_the_cpu_device(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["--subspace", "severe", "--count", "24", "--rows-per-shard", "8", "--patch", "128", "--workers", "2"]
    assert gen.render.main([*argv, "--backend", "gpu"]) == 0
    rows = list(Dataset(Path("shards/severe")))
    hr = torch.from_numpy(np.stack([row.hr for row in rows])).permute(0, 3, 1, 2)
    lr = gpu.render(hr, [Plan.from_json(row.row.plan) for row in rows])
    assert np.array_equal(lr.permute(0, 2, 3, 1).numpy(), np.stack([row.lr for row in rows]))
