"""Networks, with the key names of the official checkpoints. A new network is one file and one line below.

Names and options are plain data, so that a command can check them before PyTorch is imported.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from shared.errors import UsageError

GENERATOR = "generator"
"""The network that is evaluated, averaged and published."""
DETECTED = "spandrel"
"""Stands for the network, of any that spandrel knows, that a file holds the weights of."""


class Network(NamedTuple):
    """Where a network is made, as module:function, and its options with their defaults, beside `scale`.

    What makes it is given all of them as keyword arguments.
    """

    place: str
    options: dict[str, int]


TRANSFORMER = {"embed_dim": 180, "num_groups": 6, "depth": 6, "num_heads": 6, "mlp_ratio": 2}
NETWORKS = {
    "msrresnet": Network("train.networks.msrresnet:MSRResNet", {"num_feat": 64, "num_block": 16}),
    "rrdbnet": Network("train.networks.rrdbnet:RRDBNet", {"num_feat": 64, "num_block": 23, "num_grow_ch": 32}),
    "swinir": Network("train.networks.transformers:swinir", {**TRANSFORMER, "window_size": 8, "resi_convs": 1}),
    "hat": Network(
        "train.networks.transformers:hat", {**TRANSFORMER, "window_size": 16, "compress_ratio": 3, "squeeze_factor": 30}
    ),
}


def require_network(name: str, options: Mapping[str, Any]) -> None:
    """Raises `UsageError` for an unknown network, an option that it does not have, or a size below 1."""
    if name not in NETWORKS:
        raise UsageError(f"unknown network {name!r}: choose one of {', '.join(NETWORKS)}, or {DETECTED} with a file")
    known = NETWORKS[name].options
    for option, size in options.items():
        if option not in known:
            raise UsageError(f"unknown network option {option!r}: {name} has {', '.join(sorted(known))}")
        if size < 1:
            raise UsageError(f"network option {option} is {size}: it must be at least 1")
