"""Engines: each maps `gen.shards.attempt` over shards somewhere. A new engine is one file and one line below."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from gen.specs import Outcome, ShardSpec
from shared.errors import UsageError
from shared.photos.crops import HRImages
from shared.photos.find import HRImage
from shared.storage.places import address, place
from shared.storage.remote import Remote

PACKAGES = Path(__file__).parents[2]
"""Folder that holds our packages. Processes that start elsewhere must look there, not in their current folder."""

Run = Callable[[Sequence[ShardSpec], int, Callable[[int], object]], Iterator[Outcome]]
"""(specs, workers, on_rows) -> one outcome for each, in any order; `on_rows(n)` tells that n more rows are rendered.

It never raises for a shard that fails: it yields its reason and goes on with the others. What is rendered after this
command has ended is yielded with what it waits for.
"""


@dataclass(frozen=True)
class Engine:
    """module: where `run` is, imported when it is used. needs: a package, and the extra that installs it.

    here: the workers share this machine's cores, so that more of them than cores do not help.
    """

    module: str
    needs: str = ""
    here: bool = False

    @property
    def run(self) -> Run:
        """The engine's function."""
        return import_module(self.module).run


def absolute(spec: ShardSpec) -> ShardSpec:
    """The same shard for a process whose current folder is another."""

    def found(image: HRImage) -> HRImage:
        return image if isinstance(place(image.path), Remote) else replace(image, path=str(Path(image.path).resolve()))

    folder = place(spec.folder)
    return replace(
        spec,
        folder=address(folder if isinstance(folder, Remote) else folder.resolve()),
        photographs=HRImages(map(found, spec.photographs)),
        drawn=tuple(crop._replace(photograph=found(crop.photograph)) for crop in spec.drawn),
    )


ENGINES = {
    "local": Engine("gen.engines.local", here=True),
    "ray": Engine("gen.engines.ray", needs="ray"),
    "slurm": Engine("gen.engines.slurm"),
}


def get_engine(name: str) -> Engine:
    """An engine that can run here. Raises `UsageError` for an unknown one and for one that is not installed."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {name!r}: choose one of {', '.join(ENGINES)}")
    engine = ENGINES[name]
    if engine.needs and not find_spec(engine.needs):
        raise UsageError(
            f"engine {name!r} needs the package {engine.needs!r}, which is not installed here: "
            f"pip install 'realsr-rebalance[{engine.needs}]', or choose another engine"
        )
    return engine
