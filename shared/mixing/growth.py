"""Datasets that grow: a loader takes up rows that were added, and refuses any other change."""

from collections.abc import Sequence

from ..errors import RunError
from ..shards.manifest import MANIFEST, Manifest
from ..storage.places import info
from ..storage.remote import Found
from ..storage.retry import RetryPolicy
from .rows import DatasetVersion
from .state import LoaderState
from .tasks import Task, read_manifest


class GrowthWatch:
    """Looks for rows that were added to datasets. A manifest is read again only when its file has changed."""

    def __init__(self) -> None:
        self._seen: dict[str, Found] = {}

    def look(self, tasks: Sequence[Task], state: LoaderState) -> dict[str, Manifest]:
        """The manifests of the datasets that have grown, by task; what cannot be read now may be found the next time.

        Raises `RunError` when a dataset has changed in another way.
        """
        found = {task.name: self._grown(task, state.versions[task.name][-1]) for task in tasks if task.num_rows}
        return {name: manifest for name, manifest in found.items() if manifest}

    def _grown(self, task: Task, last: DatasetVersion) -> Manifest | None:
        assert task.train is not None
        retry = task.cache.retry if task.cache else RetryPolicy()
        try:
            found = retry(lambda: info(task.train / MANIFEST))  # type: ignore[operator]
            if found == self._seen.get(task.name):
                return None
            manifest = read_manifest(task.train, retry)
        except (RunError, OSError):
            return None
        self._seen[task.name] = found
        if not last.continues_as(manifest):
            raise RunError(
                f"dataset {task.name}/train has changed since training began, and not only grown: restore it, or begin "
                "anew (a run of the trainer: under another --run)"
            )
        return manifest if last.has_grown_to(manifest) else None


def require_unchanged(tasks: Sequence[Task], state: LoaderState) -> None:
    """Raises `RunError` when some task has not the dataset of a state, nor one that has grown from it."""
    for task in tasks:
        manifest, versions = task.train_manifest, state.versions.get(task.name)
        if not manifest and not versions:
            continue
        if not manifest or not versions or not versions[-1].continues_as(manifest):
            raise RunError(
                f"dataset {task.name}/train has changed since the state was saved: restore it, or begin anew"
            )
