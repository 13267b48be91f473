"""Gradient moments: unbiased on gradients of known distribution."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from shared.rebalance.moments import Moments, delta, describe_moments, gradient_moments

MEAN = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)
SPREAD = torch.tensor([0.5, 0.1, 1.0, 2.0], dtype=torch.float64)


class Linear(torch.nn.Module):
    """Loss a . w with a ~ N(MEAN, SPREAD^2): its gradient is a itself. The bias never takes part."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
        self.bias = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))

    def losses(self, count: int, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        for noise in rng.standard_normal((count, 4)):
            yield ((MEAN + SPREAD * torch.from_numpy(noise)) * self.weight).sum()


def test_both_moments_are_unbiased() -> None:
    """Means of 3,000 estimates from 4 gradients each, within five standard errors of the truth (rate 1e-6)."""
    network, rng = Linear(), np.random.default_rng(0)
    found = np.array([gradient_moments(network.losses(4, rng), list(network.parameters())) for _ in range(3000)])
    error = 5 * found.std(axis=0) / math.sqrt(len(found))
    variance = (SPREAD**2).sum().item()
    assert found[:, 0].mean() == pytest.approx((MEAN**2).sum().item() + variance, abs=error[0])
    assert found[:, 2].mean() == pytest.approx(variance, abs=error[2])
    assert (found[:, 1] ** 2).mean() == pytest.approx(found[:, 0].var(), rel=0.2)  # its standard error too


def test_moments_worked_out_by_hand() -> None:
    w = torch.zeros(2, requires_grad=True)
    gradients = torch.tensor([[3.0, 4.0], [0.0, 1.0], [0.0, 2.0]])  # squared norms 25, 1, 4; mean (1, 7/3)
    second, error, variance = gradient_moments(((g * w).sum() for g in gradients), [w])
    assert second == pytest.approx(10)
    assert error == pytest.approx(math.sqrt((15**2 + 9**2 + 6**2) / 2 / 3))
    assert variance == pytest.approx((30 - 3 * (1 + 49 / 9)) / 2)
    assert w.grad is None


def test_equal_gradients_have_no_variance() -> None:
    w = torch.zeros(3, requires_grad=True)
    second, error, variance = gradient_moments((0.1 * w.sum() for _ in range(5)), [w])
    assert second == pytest.approx(0.03)
    assert error == pytest.approx(0, abs=1e-9)
    assert 0 <= variance < 1e-8


def test_the_record_names_delta_by_both_moments() -> None:
    weights = [0.4, 0.3, 0.2, 0.1]
    moments = Moments(8, [1.01, 1.01, 2, 2], [0.1, 0, 0, 0.2], [0.01, 0.01, 1, 1])
    entry = describe_moments(moments, weights)
    assert entry["delta_second"] == pytest.approx(0.103, abs=5e-4)
    assert entry["delta_variance"] == pytest.approx(-0.097, abs=5e-4)
    assert entry["delta_second"] == delta(weights, moments.second)
    assert entry["delta_second_error"] == pytest.approx(math.hypot(0.4 * 0.6 * 0.1, 0.1 * 0.6 * 0.2))
