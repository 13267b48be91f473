"""Tickets: what is delivered, in which order, by arithmetic alone."""

import random

import pytest

from shared.mixing.quotas import apportion
from shared.mixing.tickets import RowOrder, Ticket, TicketSampler

QUOTAS = [[7, 7, 6], [2, 18, 0], [0, 0, 20], [5, 5, 10]]
"""Four intervals of five batches of four."""


def tickets_of(intervals: list[list[int]], rank: int = 0, num_ranks: int = 1, seed: int = 0) -> list[list[Ticket]]:
    """All batches of a rank over several intervals."""
    sampler, consumed, batches = TicketSampler(4, rank, num_ranks), [0] * len(intervals[0]), []
    for interval, quotas in enumerate(intervals):
        sampler.start(quotas, consumed, seed, interval)
        batches += list(sampler)
        consumed = [a + b for a, b in zip(consumed, quotas, strict=True)]
    return batches


def test_every_interval_delivers_exactly_its_quotas() -> None:
    batches = tickets_of(QUOTAS)
    for interval, quotas in enumerate(QUOTAS):
        delivered = [ticket.task for batch in batches[5 * interval : 5 * interval + 5] for ticket in batch]
        assert [delivered.count(task) for task in range(3)] == quotas


def test_the_ordinals_of_a_task_run_on_without_gap_or_repeat() -> None:
    tickets = [ticket for batch in tickets_of(QUOTAS) for ticket in batch]
    for task, total in enumerate([14, 30, 36]):
        assert [ticket.ordinal for ticket in tickets if ticket.task == task] == list(range(total))


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_the_ranks_share_every_global_batch_exactly(num_ranks: int) -> None:
    whole = tickets_of(QUOTAS)
    shares = [tickets_of(QUOTAS, rank, num_ranks) for rank in range(num_ranks)]
    for step, batch in enumerate(whole):
        mine = [share[step] for share in shares]
        assert {len(part) for part in mine} == {4 // num_ranks}
        assert sorted(ticket for part in mine for ticket in part) == sorted(batch)


def test_three_ranks_share_a_batch_of_twelve() -> None:
    samplers = [TicketSampler(12, rank, 3) for rank in range(3)]
    for sampler in samplers:
        sampler.start([20, 16], [5, 0], seed=1, interval=0)
    delivered = [ticket for sampler in samplers for batch in sampler for ticket in batch]
    assert sorted(delivered) == [Ticket(0, i) for i in range(5, 25)] + [Ticket(1, i) for i in range(16)]


def test_resuming_at_every_step_gives_exactly_the_remaining_tickets() -> None:
    whole, consumed = tickets_of(QUOTAS), [0, 0, 0]
    for interval, quotas in enumerate(QUOTAS):
        for done in range(6):
            sampler = TicketSampler(4)
            sampler.start(quotas, consumed, 0, interval, first_step=done)
            assert list(sampler) == whole[5 * interval + done : 5 * interval + 5]
            assert len(sampler) == 5 - done
        consumed = [a + b for a, b in zip(consumed, quotas, strict=True)]


def test_resuming_a_long_interval_at_random_steps_gives_exactly_the_remaining_tickets() -> None:
    rng, quotas = random.Random(0), apportion([0.4, 0.3, 0.2, 0.1], 12 * 500)
    sampler = TicketSampler(12, rank=1, num_ranks=2)
    sampler.start(quotas, [100, 200, 300, 400], seed=9, interval=3)
    whole = list(sampler)
    for done in rng.sample(range(500), 10):
        sampler.start(quotas, [100, 200, 300, 400], seed=9, interval=3, first_step=done)
        assert list(sampler) == whole[done:]


def test_a_batch_that_the_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of the 3 processes"):
        TicketSampler(4, 0, 3)


def test_quotas_that_do_not_fill_the_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="not a multiple of the batch size 4"):
        TicketSampler(4).start([3, 4], [0, 0], seed=0, interval=0)


# ---- the order of rows

SHARDS = [
    pytest.param([8, 8, 8, 4], 2, id="short last shard"),
    pytest.param([8, 8, 8, 8], 1, id="one shard at a time"),
    pytest.param([5], 3, id="a single shard"),
    pytest.param([1, 1, 1], 2, id="single rows"),
    pytest.param([500] * 7 + [13], 8, id="window of all"),
    pytest.param([3, 9, 1, 7, 2], 3, id="all sizes differ"),
]


@pytest.mark.parametrize(("shard_rows", "window"), SHARDS)
def test_each_row_comes_once_in_every_epoch(shard_rows: list[int], window: int) -> None:
    order, total = RowOrder(shard_rows, 0, "noise", window), sum(shard_rows)
    for epoch in range(3):
        assert sorted(order.take(epoch * total, total)) == list(range(total))


@pytest.mark.parametrize(("shard_rows", "window"), SHARDS)
def test_rows_come_from_at_most_window_shards_at_a_time(shard_rows: list[int], window: int) -> None:
    order, total = RowOrder(shard_rows, 0, "noise", window), sum(shard_rows)
    shard_of_row = [shard for shard, rows in enumerate(shard_rows) for _ in range(rows)]
    left, begun = list(shard_rows), set()
    for row in order.take(0, total):
        shard = shard_of_row[row]
        begun.add(shard)
        assert len(begun) <= window
        left[shard] -= 1
        if all(left[s] == 0 for s in begun):
            begun = set()  # a window is finished as a whole


def test_epochs_tasks_and_seeds_have_orders_of_their_own() -> None:
    def rows(seed: int, task: str, epoch: int) -> list[int]:
        order = RowOrder([8, 8, 8, 4], seed, task, 2)
        return order.take(28 * epoch, 28).tolist()

    orders = [rows(0, "noise", 0), rows(0, "noise", 1), rows(0, "blur", 0), rows(1, "noise", 0)]
    assert len({tuple(each) for each in orders}) == 4
    assert rows(0, "noise", 0) == orders[0]


def test_a_single_shard_is_visited_in_another_order_every_epoch() -> None:
    order = RowOrder([28], 0, "noise", 1)
    assert order.take(0, 28).tolist() != order.take(28, 28).tolist()


def test_an_ordinal_far_away_needs_no_history() -> None:
    order, visited = RowOrder([8, 8, 8, 4], 0, "noise", 2), RowOrder([8, 8, 8, 4], 0, "noise", 2)
    rows = visited.take(0, 28 * 40)
    for ordinal in (1119, 3, 560, 561, 28):
        assert order.take(ordinal, 1) == rows[ordinal]
