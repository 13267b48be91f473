"""Standard errors and bootstrap intervals where images from one HR image are dependent.

Crops of one HR image say less than as many crops of different ones. So HR images are the clusters: they enter standard
errors by their sums, and the bootstrap draws them whole, the same ones for all tasks that show them.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..seeds import words

NUM_REPLICATES = 2000
CONFIDENCE = 0.95
FEW_PHOTOGRAPHS = 20
"""Percentile intervals cover too little with fewer HR images (0.76 at 3, 0.90 at 8, 0.93 at 20, 0.94 at 100)."""


HRIds = Sequence[str] | Sequence[Sequence[str]]
"""Name of the HR image of each image: one list for all tasks that show the same images, or one list for each task."""


def by_task(hr_ids: HRIds, num_tasks: int) -> list[list[str]]:
    """The HR images of each of n tasks. Raises ValueError for lists of another number of tasks."""
    if all(isinstance(name, str) for name in hr_ids):
        return [list(hr_ids)] * num_tasks  # type: ignore[arg-type]
    if len(hr_ids) != num_tasks or any(isinstance(names, str) for names in hr_ids):
        raise ValueError(f"HR images are given for {len(hr_ids)} tasks, there are {num_tasks}")
    return [list(names) for names in hr_ids]


def in_one_list(hr_ids: HRIds) -> list[str] | list[list[str]]:
    """The HR images as plain data: one list where all tasks show the same images, else one list for each task."""
    lists = by_task(hr_ids, len(hr_ids))
    return lists[0] if all(names == lists[0] for names in lists) else lists


def with_other_images(hr_ids: HRIds, num_tasks: int) -> list[bool]:
    """Whether each task shows other HR images than most tasks do (of equally many, than the first)."""
    shown = [frozenset(names) for names in by_task(hr_ids, num_tasks)]
    common = max(shown, key=shown.count)
    return [each != common for each in shown]


def clusters_of(hr_ids: Sequence[str]) -> np.ndarray:
    """Cluster number of each image, int64 [m]: its HR image, or the image itself when there is only one HR image."""
    names, clusters = np.unique(np.asarray(hr_ids), return_inverse=True)
    return clusters if len(names) > 1 else np.arange(len(hr_ids))


def standard_errors(values: np.ndarray, means: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Cluster-robust standard errors, float [n], of the means [n] of values [n, m]; at least two clusters."""
    residuals = values - means[:, None]
    sums = np.stack([np.bincount(clusters, weights=row) for row in residuals])
    groups = sums.shape[1]
    return np.sqrt(groups / (groups - 1) * (sums**2).sum(axis=1)) / len(clusters)


def interval(replicates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Low and high end of the 95 % percentile interval of replicates [R, ...]."""
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(replicates, [tail, 100 - tail], axis=0)
    return low, high


def resample(clusters: np.ndarray, key: Sequence[int | str]) -> np.ndarray:
    """How often each image is in each of NUM_REPLICATES resamples of whole clusters, float [R, m]."""
    groups = int(clusters.max()) + 1
    uniform = words(NUM_REPLICATES * groups, "bootstrap", *key) >> np.uint64(11)
    drawn = (uniform * 2.0**-53 * groups).astype(np.int64).reshape(NUM_REPLICATES, groups)
    flat = (drawn + groups * np.arange(NUM_REPLICATES)[:, None]).reshape(-1)
    counts = np.bincount(flat, minlength=NUM_REPLICATES * groups).reshape(NUM_REPLICATES, groups)
    return counts[:, clusters].astype(float)


def resampled_means(tables: Sequence[np.ndarray], hr_ids: HRIds, key: Sequence[int | str]) -> np.ndarray:
    """Means over images, float [R, ..., n], of the tables [..., m_i] of n tasks in resamples of whole HR images.

    HR images that the same tasks show are resampled among themselves, jointly for these tasks; those that other tasks
    show, independently of them. So every resample of a task has as many HR images as the task.
    """
    tasks_of: dict[tuple[str, ...], list[int]] = {}
    for task, names in enumerate(by_task(hr_ids, len(tables))):
        tasks_of.setdefault(tuple(names), []).append(task)
    found = np.empty((NUM_REPLICATES, *tables[0].shape[:-1], len(tables)))
    for tasks, counts in zip(tasks_of.values(), _resample_each(tasks_of, key), strict=True):
        values = np.stack([tables[task] for task in tasks], axis=-2)
        means = (counts @ values.reshape(-1, values.shape[-1]).T) / counts.sum(axis=1, keepdims=True)
        found[..., tasks] = means.reshape(-1, *values.shape[:-1])
    return found


def _resample_each(tasks_of: Mapping[tuple[str, ...], list[int]], key: Sequence[int | str]) -> Iterator[np.ndarray]:
    """How often each image of each list of HR images is in each resample, float [R, m_i].

    tasks_of: the tasks that show the images of a list.
    """
    if len(tasks_of) == 1:
        yield resample(clusters_of(*tasks_of), key)
        return
    lists = [_clusters_by_name(names) for names in tasks_of]
    shown_by: dict[tuple[str, int], list[int]] = {}
    for names, tasks in zip(lists, tasks_of.values(), strict=True):
        for name in {*names}:
            shown_by.setdefault(name, []).extend(tasks)
    alike: dict[tuple[int, ...], list[tuple[str, int]]] = {}
    for name in sorted(shown_by):
        alike.setdefault(tuple(sorted(shown_by[name])), []).append(name)
    drawn: dict[tuple[str, int], np.ndarray] = {}
    for those, clusters in alike.items():
        counts = resample(np.arange(len(clusters)), (*key, "shown by", *those))
        drawn |= zip(clusters, counts.T, strict=True)
    for names in lists:
        yield np.stack([drawn[name] for name in names], axis=1)


def _clusters_by_name(names: Sequence[str]) -> list[tuple[str, int]]:
    """The cluster of each image by a name that other tasks share: its HR image, as in `clusters_of`."""
    several = len({*names}) > 1
    return [(name, 0 if several else 1 + number) for number, name in enumerate(names)]
