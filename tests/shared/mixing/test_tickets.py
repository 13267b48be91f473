"""Tickets: which sample comes when, by arithmetic alone."""

from itertools import chain

import numpy as np
import pytest

from shared.mixing.quotas import order
from shared.mixing.rows import RowOrder
from shared.mixing.tickets import CANDIDATES, IntervalTickets, Supply, Ticket, candidates

NAMES, ROWS = ["mild", "noise", "severe"], 28
QUOTAS = [[7, 7, 6], [2, 18, 0], [0, 0, 20], [5, 5, 10]]
"""Four intervals of five batches of four."""


def supply(task: int, first: int, quota: int) -> Supply:
    rows = RowOrder([8, 8, 8, 4], 0, NAMES[task], 2).take(first, quota)
    return Supply("shards", np.full(quota, task), rows)


def intervals() -> list[IntervalTickets]:
    """The tickets of every interval."""
    consumed, found = [0, 0, 0], []
    for interval, quotas in enumerate(QUOTAS):
        supplies = [supply(task, consumed[task], quota) for task, quota in enumerate(quotas)]
        found.append(IntervalTickets(quotas, supplies, consumed, 4, 0, interval))
        consumed = [a + b for a, b in zip(consumed, quotas, strict=True)]
    return found


def all_of(tickets: IntervalTickets, rank: int = 0, num_ranks: int = 1) -> list[list[Ticket]]:
    return [tickets.batch(step, rank, num_ranks) for step in range(tickets.steps)]


def test_every_interval_has_exactly_its_quotas_in_the_order_of_its_slots() -> None:
    for number, (tickets, quotas) in enumerate(zip(intervals(), QUOTAS, strict=True)):
        tasks = [ticket.task for ticket in chain(*all_of(tickets))]
        assert [tasks.count(task) for task in range(3)] == quotas
        assert tasks == order(quotas, 0, number).tolist()
        assert tickets.steps == 5


def test_the_ordinals_of_a_task_run_on_without_gap_or_repeat() -> None:
    found = [ticket for tickets in intervals() for ticket in chain(*all_of(tickets))]
    for task, total in enumerate([14, 30, 36]):
        mine = [ticket for ticket in found if ticket.task == task]
        assert [ticket.ordinal for ticket in mine] == list(range(total))
        assert [ticket.row for ticket in mine] == RowOrder([8, 8, 8, 4], 0, NAMES[task], 2).take(0, total).tolist()
        assert {(ticket.source, ticket.owner) for ticket in mine} == {("shards", task)}


@pytest.mark.parametrize("num_ranks", [1, 2, 4])
def test_the_ranks_share_every_global_batch_exactly(num_ranks: int) -> None:
    for tickets in intervals():
        parts = [all_of(tickets, rank, num_ranks) for rank in range(num_ranks)]
        for whole, *shares in zip(all_of(tickets), *parts, strict=True):
            assert {len(share) for share in shares} == {4 // num_ranks}
            assert list(chain(*zip(*shares, strict=True))) == whole


def test_three_ranks_share_a_batch_of_twelve() -> None:
    nothing = [Supply("fly", np.full(quota, -1), np.full(quota, -1)) for quota in (20, 16)]
    tickets = IntervalTickets([20, 16], nothing, [5, 0], 12, seed=1, interval=0)
    delivered = [ticket for rank in range(3) for ticket in chain(*all_of(tickets, rank, 3))]
    expected = [Ticket(0, i, "fly") for i in range(5, 25)] + [Ticket(1, i, "fly") for i in range(16)]
    assert sorted(delivered) == expected


def test_what_is_delivered_is_counted_over_all_ranks() -> None:
    for tickets, quotas in zip(intervals(), QUOTAS, strict=True):
        delivered = [0, 0, 0]
        for step, batch in enumerate(all_of(tickets)):
            assert tickets.delivered(step) == delivered
            for ticket in batch:
                delivered[ticket.task] += 1
        assert tickets.delivered(5) == delivered == quotas


# ---- candidates


def test_the_candidates_of_a_ticket_are_its_own_row_and_then_rows_of_the_same_dataset() -> None:
    ticket = Ticket(1, 5, "shards", 1, 9)
    rows = list(candidates(ticket, 0, "noise", ROWS))
    assert rows == list(candidates(ticket, 0, "noise", ROWS))
    assert len(rows) == CANDIDATES
    assert rows[0] == 9
    assert all(0 <= row < ROWS for row in rows)


def test_every_ticket_task_and_seed_draws_other_candidates() -> None:
    draws = [
        tuple(candidates(Ticket(0, ordinal, "shards", 0, 0), seed, task, 1000))[1:]
        for ordinal, seed, task in [(5, 0, "noise"), (6, 0, "noise"), (5, 1, "noise"), (5, 0, "mild")]
    ]
    assert len(set(draws)) == 4


def test_known_lost_rows_are_skipped_as_a_worker_would_skip_them() -> None:
    lost = {(1, row) for row in range(0, ROWS, 2)}
    plain, skipping = intervals()[1], intervals()[1]
    skipping.skip(lost, 0, NAMES, [ROWS] * 3)
    changed = 0
    for before, after in zip(chain(*all_of(plain)), chain(*all_of(skipping)), strict=True):
        readable = [row for row in candidates(before, 0, NAMES[before.task], ROWS) if (before.owner, row) not in lost]
        assert after == before._replace(row=readable[0])
        changed += after != before
    assert changed == sum((ticket.owner, ticket.row) in lost for ticket in chain(*all_of(plain))) > 0


def test_a_ticket_none_of_whose_candidates_is_left_keeps_its_row() -> None:
    plain, skipping = intervals()[1], intervals()[1]
    skipping.skip({(1, row) for row in range(ROWS)}, 0, NAMES, [ROWS] * 3)
    assert all_of(skipping) == all_of(plain)  # the worker tries them all again, and says why none of them can be read
