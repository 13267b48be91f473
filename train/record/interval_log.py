"""The log of an interval: what was measured and decided when it began, and what it trained on.

One `IntervalLog` is one line of intervals.jsonl, and in a checkpoint within the interval the `record` of state.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from shared.mixing.interval_record import IntervalRecord
from shared.records import from_plain


@dataclass(frozen=True)
class IntervalLog:
    """Lists have one entry a task, in the order of `tasks`, and further entries for frozen plans (TGSR-style).

    step: optimiser steps before the interval. The fields to `estimate` and `interval` are those of
    `shared.rebalance.measurements.describe`. photographs: the HR image of each image, one list for all tasks or one
    for each. shared_db, reference_db: PSNR tables, dB, a list for each task. estimator, estimate: what the
    estimate was made with, and the estimate. p, c: volumes and coefficients that the policy decided; these and `record`
    are None in the last log, after which nothing was trained. totals: sums of the generator's losses and of the
    coefficients of the samples so far, while the interval is trained. losses, delivered_weights: mean losses and mean
    coefficients times volumes, once it is finished.
    """

    step: int
    tasks: list[str]
    photographs: list[str | list[str]]
    shared_db: list[list[float]]
    reference_db: list[list[float]] | None = None
    estimator: dict[str, Any] | None = None
    estimate: dict[str, Any] | None = None
    p: list[float] | None = None
    c: list[float] | None = None
    moments: dict[str, Any] | None = None
    totals: list[list[float]] | None = None
    losses: list[float | None] | None = None
    delivered_weights: list[float] | None = None
    interval: int = 0
    record: IntervalRecord | None = None

    def to_json(self) -> dict[str, Any]:
        """Flat plain data; what is not known is left out."""
        values = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "record"}
        values = {name: value for name, value in values.items() if value is not None}
        if self.record:
            decided = self.record.to_json()
            if decided.pop("tasks") != self.tasks:
                values["trained"] = self.record.tasks
            values |= decided
        return values

    @staticmethod
    def from_json(values: dict[str, Any], batch_size: int) -> "IntervalLog":
        """The log of a line or of a state, also of earlier versions. Raises ValueError for what is no log."""
        known = {each.name: values[each.name] for each in fields(IntervalLog) if values.get(each.name) is not None}
        if "quotas" in values:
            found = {"steps": 0, "delivered": [], **values, "tasks": values.get("trained", values.get("tasks"))}
            known["record"] = {each.name: found[each.name] for each in fields(IntervalRecord) if each.name in found}
        log = from_plain(IntervalLog, known, "entry")
        if log.record is None:
            return log
        steps = log.record.steps or sum(log.record.quotas) // batch_size  # which earlier versions did not have
        delivered = log.record.delivered or [0] * len(log.record.quotas)
        record = replace(log.record, steps=steps, delivered=delivered)
        record.require_sound()
        return replace(log, record=record)


def made_on_the_fly(record: IntervalRecord, counts: list[int]) -> dict[str, int]:
    """How many of so many samples of each task are made on the fly, as entries of the logs."""
    found = zip(record.tasks, record.sources, counts, strict=True)
    return {f"data/fallback/{task}": 0 if source == "shards" else count for task, source, count in found}


def missing_intervals(records: Sequence[Mapping[str, Any]], step: int, interval_steps: int) -> list[int]:
    """First steps of the intervals before `step` that a log has no line of."""
    return sorted({*range(0, step, interval_steps)} - {record["step"] for record in records})
