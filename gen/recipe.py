"""The recipe of a dataset: everything that decides its bytes, and the digest that names its shards."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from shared.degradation.partition import Subspace, get_subspace
from shared.degradation.space import MIN_PATCH, get_space
from shared.errors import UsageError, require_at_least
from shared.records import canonical_json, require_fields
from shared.shards.codecs import CODECS
from shared.shards.format import FORMAT


@dataclass(frozen=True)
class Recipe:
    """What `gen.render` was asked for, resolved. Change anything and the digest changes; the row count is not in it.

    photographs: sha256 of the list of HR pictures with their hashes. usm: LR is made from the sharpened HR.
    """

    space: str
    partition: str
    subspace: str
    split: str
    photographs: str
    patch: int = 256
    scale: int = 4
    seed: int = 0
    rows_per_shard: int = 500
    usm: bool = False
    codec: str = "png"
    backend: str = "cpu"
    format: str = FORMAT

    def __post_init__(self) -> None:
        """Raises `UsageError` for values no dataset can have."""
        require_at_least(1, self, "scale", "rows_per_shard")
        if self.patch < MIN_PATCH or self.patch % self.scale:
            raise UsageError(
                f"patch is {self.patch}: it must be at least {MIN_PATCH} and a multiple of the scale {self.scale}"
            )
        if self.codec not in CODECS:
            raise UsageError(f"unknown codec {self.codec!r}: choose one of {', '.join(CODECS)}")
        self.box()

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Recipe":
        """The recipe in a manifest. Raises ValueError for a field that is unknown, missing or of another type."""
        require_fields(Recipe, values, "recipe field")
        return Recipe(**values)

    def box(self) -> Subspace:
        """The subspace that plans are drawn from. Raises `UsageError` for unknown names."""
        return _box(self.space, self.partition, self.subspace)

    def digest(self) -> str:
        """Six hex digits of the hash of all fields."""
        return hashlib.sha256(canonical_json(asdict(self))).hexdigest()[:6]

    def differences(self, other: "Recipe") -> list[str]:
        """The fields in which two recipes differ, as `name: mine -> theirs`; of a hash, what it is of."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(Recipe))
        hashes = "other pictures, or other sizes or licences of them"
        return [
            f"{name}: {hashes if name == 'photographs' else f'{mine} -> {theirs}'}"
            for name, mine, theirs in pairs
            if mine != theirs
        ]


@lru_cache(maxsize=64)
def _box(space: str, partition: str, subspace: str) -> Subspace:
    return get_subspace(get_space(space), partition, subspace)
