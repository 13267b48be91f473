"""How many CPU threads a training process uses."""

import os

import pytest

from shared.errors import UsageError
from train.session import num_threads


def test_a_process_uses_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REALSR_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    assert [num_threads(processes) for processes in (1, 2, 4, 8)] == [6, 3, 1, 1]


def test_the_variable_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALSR_THREADS", "1")
    assert num_threads(1) == 1


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_what_is_no_number_of_threads_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REALSR_THREADS", value)
    with pytest.raises(UsageError, match=r"REALSR_THREADS is .*: it must be a number of CPU threads, at least 1"):
        num_threads(1)
