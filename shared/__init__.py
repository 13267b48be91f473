"""What the generator, the trainer and other people's programs share. Other programs `import realsr_rebalance`.

The names in `__all__` are public; everything else may change. Each is imported when it is first used, so that
`import realsr_rebalance` loads neither PyTorch nor OpenCV.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .degradation.cpu import render
    from .degradation.plan import Plan, sample_plan
    from .mixing.interval_record import IntervalRecord
    from .mixing.loader import Batch, MixingLoader
    from .mixing.quotas import apportion, order
    from .rebalance.estimator import estimate
    from .rebalance.surface import predicted_gains
    from .shards.reader import open_rows
    from .shards.streams import as_webdataset

__all__ = [
    "Batch",
    "IntervalRecord",
    "MixingLoader",
    "Plan",
    "apportion",
    "as_webdataset",
    "estimate",
    "open_rows",
    "order",
    "predicted_gains",
    "render",
    "sample_plan",
]
_ROOMS = {
    "Batch": "mixing.loader",
    "IntervalRecord": "mixing.interval_record",
    "MixingLoader": "mixing.loader",
    "Plan": "degradation.plan",
    "apportion": "mixing.quotas",
    "as_webdataset": "shards.streams",
    "estimate": "rebalance.estimator",
    "open_rows": "shards.reader",
    "order": "mixing.quotas",
    "predicted_gains": "rebalance.surface",
    "render": "degradation.cpu",
    "sample_plan": "degradation.plan",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}: its names are {', '.join(__all__)}")
    return getattr(import_module(f".{_ROOMS[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
