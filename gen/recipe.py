"""The recipe of a dataset: everything that decides its bytes, and the digest that names its shards."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

from shared.degradation.definition import space_of
from shared.degradation.partition import Subspace, get_subspace
from shared.errors import UsageError, require_at_least
from shared.records import canonical_json, from_plain
from shared.shards.codecs import CODECS
from shared.shards.format import ADOPTED, FORMAT


@dataclass(frozen=True)
class Recipe:
    """What `gen.render` or `gen.adopt` was asked for, resolved. Change anything and the digest changes.

    The row count is not in it. photographs: SHA-256 of the list of HR images with their hashes. usm: LR is made from
    the sharpened HR. definition: JSON of the numbers of a space that was read from a file, empty for a built-in one.
    crops: how pairs that were made elsewhere are cut, `grid` or `random`; empty for rendered ones.
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
    definition: str = ""
    crops: str = ""

    def __post_init__(self) -> None:
        """Raises `UsageError` for values no dataset can have."""
        require_at_least(1, self, "scale", "rows_per_shard")
        least = self.box().ranges.least_patch(self.scale) if self.has_plans else self.scale
        if self.patch < least or self.patch % self.scale:
            raise UsageError(
                f"patch is {self.patch}: it must be at least {least} and a multiple of the scale {self.scale}"
            )
        if self.codec not in CODECS:
            raise UsageError(f"unknown codec {self.codec!r}: choose one of {', '.join(CODECS)}")

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Recipe":
        """The recipe in a manifest. Raises ValueError for a field that is unknown, missing or of another type."""
        values = {"crops": "", **definition_as_text(values)}
        return from_plain(Recipe, values, "recipe field", complete=True)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as manifests hold it."""
        values = definition_as_data(asdict(self))
        return {name: value for name, value in values.items() if value or name != "crops"}

    @property
    def has_plans(self) -> bool:
        """Whether rows have plans: those of pairs that were made elsewhere have none."""
        return self.space != ADOPTED

    def box(self) -> Subspace:
        """The subspace that plans are drawn from. Raises `UsageError` for unknown names, and where there are none."""
        return _box(self.space, self.definition, self.partition, self.subspace)

    def digest(self) -> str:
        """Six hex digits of the hash of all fields."""
        return hashlib.sha256(canonical_json(self.to_dict())).hexdigest()[:6]

    def differences(self, other: "Recipe") -> list[str]:
        """The fields in which two recipes differ, as `name: mine -> theirs`; the hash of images in words."""
        names = [f.name for f in fields(Recipe) if f.name != "definition"]  # two definitions have two names
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        hashes = "other images, or other sizes or licences of them"
        return [
            f"{name}: {hashes if name == 'photographs' else f'{mine} -> {theirs}'}"
            for name, mine, theirs in pairs
            if mine != theirs
        ]


def definition_as_data(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe with its definition as an object, or without one if it is empty."""
    others = {name: value for name, value in values.items() if name != "definition"}
    return {**others, "definition": json.loads(values["definition"])} if values["definition"] else others


def definition_as_text(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `definition_as_data`."""
    definition = canonical_json(values["definition"]).decode() if "definition" in values else ""
    return {**values, "definition": definition}


@lru_cache(maxsize=64)
def _box(space: str, definition: str, partition: str, subspace: str) -> Subspace:
    recipe = definition_as_data({"space": space, "definition": definition})
    return get_subspace(space_of(recipe), partition, subspace)
