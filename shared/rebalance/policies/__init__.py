"""Policies turn measurements into sampling shares p and loss coefficients c. A new one is one file and one line below.

One rule holds for all: p_j c_j = w_j, so that the gradient is unbiased for the weights w (`policy.py`).
"""

from collections.abc import Mapping
from dataclasses import Field, fields
from inspect import cleandoc, getmodule
from typing import Any

from ...errors import UsageError
from ...records import from_plain
from . import (
    achievement,
    defensive,
    dwa,
    fixed,
    gls,
    hybrid,
    optimal,
    planned,
    rebalance,
    reweight,
    rlw,
    tgsr,
    uniform,
    worst,
)
from .policy import Decision, Policy

__all__ = ["POLICIES", "Decision", "Policy", "describe_policy", "make_policy"]

POLICIES: dict[str, type[Policy]] = {
    "rebalance": rebalance.Rebalance,
    "uniform": uniform.Uniform,
    "reweight": reweight.Reweight,
    "hybrid": hybrid.Hybrid,
    "optimal": optimal.Optimal,
    "defensive": defensive.Defensive,
    "rlw": rlw.RLW,
    "dwa": dwa.DWA,
    "gls": gls.GLS,
    "achievement": achievement.Achievement,
    "tgsr": tgsr.TGSR,
    "fixed": fixed.Fixed,
    "planned": planned.Planned,
    "worst": worst.Worst,
}
SYMBOLS = """p: share of the samples of each task. c: coefficient of its loss. w: weights that follow from the gaps.
n: number of tasks. docs/method.md has the equations of all policies."""


def make_policy(name: str, options: Mapping[str, Any] | None = None, seed: int = 0) -> Policy:
    """The policy of that name. Raises `UsageError` for an unknown one, or an option it does not have or take."""
    if name not in POLICIES:
        raise UsageError(f"unknown policy {name!r}: choose one of {', '.join(POLICIES)}")
    known, values = _options(POLICIES[name]), options or {}
    for key in values:
        if key not in known:
            raise UsageError(f"policy {name} has no option {key!r}: it has {', '.join(known) or 'none'}")
    try:
        policy = from_plain(POLICIES[name], values, "policy option")
    except ValueError as error:
        raise UsageError(str(error)) from None
    policy.seed = seed
    return policy


def describe_policy(name: str) -> str:
    """The help of a policy: what it does, and its options. Raises `UsageError` for an unknown name."""
    if name not in POLICIES:
        raise UsageError(f"unknown policy {name!r}: choose one of {', '.join(POLICIES)}")
    policy = POLICIES[name]
    lines = [f"--policy {name}", "", cleandoc(getmodule(policy).__doc__ or ""), "", cleandoc(policy.__doc__ or "")]
    for key, each in _options(policy).items():
        default = "" if "default" in each.metadata["help"] or each.default == "" else f" [{each.default}]"
        lines += ["", f"  --policy-options.{key} VALUE", f"      {each.metadata['help']}{default}"]
    return "\n".join([*lines, "", SYMBOLS])


def _options(policy: type[Policy]) -> dict[str, Field]:
    return {each.name: each for each in fields(policy) if each.init}
