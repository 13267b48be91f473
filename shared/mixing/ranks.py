"""The processes that share each batch: what rank 0 decides holds for all of them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

from ..errors import UsageError

T = TypeVar("T")
Gather = Callable[[Any], list]
"""Returns what every rank has given, in the order of the ranks; all ranks call it."""


class Ranks:
    """This rank among those that share each batch."""

    def __init__(self, rank: int | None = None, num_ranks: int | None = None, gather: Gather | None = None) -> None:
        """Without arguments, rank, number and `gather` are those of torch.distributed, or there is one rank.

        Raises `UsageError` for a rank that cannot be, and when several ranks have no way to gather.
        """
        if (rank is None) != (num_ranks is None):
            raise UsageError(f"rank is {rank}, num_ranks {num_ranks}: give both or none")
        if rank is None or num_ranks is None:
            distributed = _is_distributed()
            rank = torch.distributed.get_rank() if distributed else 0
            num_ranks = torch.distributed.get_world_size() if distributed else 1
        if not 0 <= rank < num_ranks:
            raise UsageError(f"rank is {rank}: it must be between 0 and num_ranks - 1, {num_ranks - 1}")
        if num_ranks > 1 and gather is None and not _is_distributed():
            raise UsageError(f"num_ranks is {num_ranks}: give gather, or initialise torch.distributed first")
        self.rank, self.num_ranks, self._gather = rank, num_ranks, gather or _all_gather

    def gather(self, value: T) -> list[T]:
        """The value of every rank, in their order."""
        return [value] if self.num_ranks == 1 else self._gather(value)

    def agree(self, decide: Callable[[], T]) -> T:
        """What `decide` returns on rank 0, the only one that calls it. All ranks raise its error."""
        value: Any = None
        error: Exception | None = None
        if self.rank == 0:
            try:
                value = decide()
            except Exception as raised:  # whatever it is: the other ranks wait for an answer
                error = raised
        value, error = self.gather((value, error))[0]
        if error:
            raise error
        return value


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _all_gather(value: Any) -> list:
    values: list = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values
