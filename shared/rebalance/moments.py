"""Second moments of the tasks' gradients, which decide between re-sampling and re-weighting (appendix A.2.2).

G_j is the gradient of one sample of task j, E_j = E ||G_j||^2 and Var_j = E ||G_j - E G_j||^2. The variance of the
weighted gradient depends on E_j with random draws and on Var_j with stratified counts (docs/method.md, Moments).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Moments:
    """Unbiased estimates for n tasks from `samples` independent samples of each. second_errors: standard errors."""

    samples: int
    second: list[float]
    second_errors: list[float]
    variance: list[float]


def gradient_moments(losses: Iterable[torch.Tensor], parameters: Sequence[torch.Tensor]) -> tuple[float, float, float]:
    """(E, its standard error, Var) of the gradients of single samples' losses, with one backward pass for each.

    losses: at least two scalars with their graphs, made one at a time. E is the mean of ||g||^2. Var is the sample
    variance summed over the parameters, (sum ||g||^2 - K ||mean g||^2) / (K - 1). Both are unbiased.
    """
    norms: list[float] = []
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for loss in losses:
        gradient = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        norms.append(_squared_norm(gradient))
        torch._foreach_add_(total, gradient)
    count = len(norms)
    second = math.fsum(norms) / count
    error = math.sqrt(math.fsum((norm - second) ** 2 for norm in norms) / (count - 1) / count)
    variance = (math.fsum(norms) - _squared_norm(total) / count) / (count - 1)
    return second, error, max(variance, 0.0)


def _squared_norm(tensors: Sequence[torch.Tensor]) -> float:
    return float(torch.stack([part.double().square().sum() for part in tensors]).sum())


def delta(weights: Sequence[float], moments: Sequence[float]) -> float:
    """Delta = sum_j w_j (n w_j - 1) M_j: the variance of re-weighting minus that of re-sampling, in units of M.

    Delta may have either sign. It is >= 0 where M is constant or ordered like w.
    """
    n = len(weights)
    return math.fsum(w * (n * w - 1) * m for w, m in zip(weights, moments, strict=True))


def describe_moments(moments: Moments, weights: Sequence[float]) -> dict[str, Any]:
    """The moments as an entry of intervals.jsonl, with Delta from E (and its standard error) and from Var."""
    n = len(weights)
    error = math.hypot(*(w * (n * w - 1) * e for w, e in zip(weights, moments.second_errors, strict=True)))
    return {
        "samples": moments.samples,
        "second": moments.second,
        "second_errors": moments.second_errors,
        "variance": moments.variance,
        "delta_second": delta(weights, moments.second),
        "delta_second_error": error,
        "delta_variance": delta(weights, moments.variance),
    }
