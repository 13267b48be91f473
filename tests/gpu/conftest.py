"""Tests of what only an accelerator can show: all are skipped where there is none."""

import pytest
import torch

from tests.train.conftest import once, shards

__all__ = ["once", "shards"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.path.parent.name == "gpu":
            item.add_marker(pytest.mark.skip(reason="torch sees no GPU here"))


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda")
