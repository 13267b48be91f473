"""Engines: each maps `render_shard` over specifications somewhere. A new engine is one file and one line below."""

from collections.abc import Callable, Iterator, Sequence

from gen.engines import local
from gen.shards import Outcome, ShardSpec

Engine = Callable[[Sequence[ShardSpec], int, Callable[[int], None]], Iterator[Outcome]]
"""(specs, workers, on_rows) -> outcomes in any order; `on_rows(n)` tells that n more rows are rendered.

An engine never raises for a shard that fails: it yields its reason and goes on with the others.
"""

ENGINES: dict[str, Engine] = {"local": local.run}
