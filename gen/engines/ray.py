"""Ray Core tasks, on this machine or on a cluster whose nodes share the folder of the dataset and the HR images.

It joins the cluster that `RAY_ADDRESS` names or that runs on this machine, else starts Ray here. A task whose worker or
node dies is run again elsewhere; it returns a record of a few hundred bytes, and no image is sent.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from typing import Any

from gen.engines import PACKAGES, absolute
from gen.processes import one_thread
from gen.shards import attempt
from gen.specs import DoneShard, Outcome, ShardSpec, failure

MAX_RETRIES = 3
"""Times that a task whose worker or node died is run again."""


def run(specs: Sequence[ShardSpec], workers: int, on_rows: Callable[[int], object]) -> Iterator[Outcome]:
    """Render the shards in at most `workers` tasks at once, one core each."""
    import ray

    if ours := not ray.is_initialized():  # a connection to end: to a cluster of others we only leave it
        _join_or_start(workers)
    try:
        task = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_render)
        todo, pending = list(reversed(specs)), dict[Any, ShardSpec]()
        while todo or pending:
            while todo and len(pending) < workers:
                spec = todo.pop()
                pending[task.remote(absolute(spec.alone()))] = spec
            (reference,), _ = ray.wait(list(pending), num_returns=1)
            spec = pending.pop(reference)
            outcome = _outcome(reference, spec)
            on_rows(spec.rows if outcome.done else 0)
            yield outcome
    finally:
        if ours:
            ray.shutdown()


def _join_or_start(workers: int) -> None:
    """Connect this process to a cluster, or else start Ray here."""
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    with chdir(PACKAGES):  # Ray's workers look for modules in the folder where it is started
        try:
            ray.init(address="auto", log_to_driver=False)
        except ConnectionError:
            ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False)


def _render(spec: ShardSpec) -> tuple[DoneShard | None, str]:
    one_thread()
    outcome = attempt(spec, lambda: None)
    return outcome.done, outcome.reason


def _outcome(reference: Any, spec: ShardSpec) -> Outcome:
    import ray

    try:
        done, reason = ray.get(reference)
        return Outcome(spec, done, reason)
    except ray.exceptions.RayTaskError:
        raise  # a fault of ours within the task
    except ray.exceptions.RayError as error:
        return failure(spec, f"Ray gave up after {1 + MAX_RETRIES} attempts: {str(error).splitlines()[0]}")
