"""Datasets brought to their rows: locked, their missing shards made by an engine, committed, described by cards."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from gen.card import write_folder_card
from gen.dataset import DatasetJob, commit
from gen.engines import get_engine
from gen.specs import DONE_FOLDER, Outcome, ShardSpec
from shared.command import spelling
from shared.errors import RunError
from shared.progress import progress_bar
from shared.storage.atomic import locked
from shared.storage.places import Place, address
from shared.text import counted


def complete(plan: Callable[[], list[DatasetJob]], out: Place, verb: str, engine: str, workers: int) -> None:
    """Finish the datasets that are planned below `out`. What is finished already is kept.

    plan: called again once the folders are locked. verb: the command, for those that find them locked.
    Raises `RunError` that says what is to be done about shards that failed or wait for others.
    """
    with ExitStack() as locks:
        for job in plan():
            locks.enter_context(locked(job.folder, verb, DONE_FOLDER))
        jobs = plan()  # again: only now can no other command change the folders
        missing = [spec for job in jobs for spec in job.missing]
        for job in jobs:
            if job.missing:
                job.plan.save(job.folder)
        unfinished = _run(engine, workers, missing)
        folders = {outcome.spec.folder for outcome in unfinished}
        for job in jobs:
            if address(job.folder) not in folders:
                commit(job)
                print(f"{job.folder}: {counted(job.plan.rows, 'row')} in {counted(len(job.specs), 'shard')}")
    write_folder_card(out)
    if unfinished:
        raise RunError(_advice(out, len(missing), unfinished))


def _run(engine: str, workers: int, missing: Sequence[ShardSpec]) -> list[Outcome]:
    """Let the engine work; what became of the shards that are not finished."""
    unfinished = []
    with progress_bar(sum(spec.rows for spec in missing), "pair", disable=not missing) as bar:
        for outcome in get_engine(engine).run(missing, workers, bar.update):
            if not outcome.done:
                unfinished.append(outcome)
            if outcome.reason:
                bar.write(f"failed: {outcome.spec.name}: {outcome.reason}", file=sys.stderr)
    return unfinished


def _advice(out: Place, num_missing: int, unfinished: Sequence[Outcome]) -> str:
    """What is to be done about shards that failed or were handed on."""
    waits = [outcome.waits_for for outcome in unfinished if outcome.waits_for]
    texts = []
    if failures := len(unfinished) - len(waits):
        texts.append(f"{failures} of {num_missing} shards failed; run the same command again to retry only those")
    if waits:
        texts.append(
            f"{len(waits)} of {num_missing} shards are not rendered yet and wait for {', '.join(sorted({*waits}))}; "
            f"look with `{spelling('status')} {out}`, and run the same command again when they are rendered"
        )
    return "; ".join(texts)
