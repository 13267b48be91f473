"""Any network that spandrel knows, recognised by its weights: `--network.name spandrel --init FILE`."""

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from shared.errors import RunError, UsageError
from train.networks.depth import replace_drop_paths

PROBE_SIDE = 16


def detect(weights: Mapping[str, torch.Tensor], scale: int) -> nn.Module:
    """The trainable network of these weights, filled with them.

    Raises `RunError` as `recognise` does, `UsageError` when it does not upscale by `scale`.
    """
    found = recognise(weights)
    if found.scale != scale:
        raise UsageError(f"the file's network, {found.architecture.name}, upscales by {found.scale}, not by {scale}")
    replace_drop_paths(found.model)
    network: nn.Module = found.model.requires_grad_(True)
    freeze_unused(network, max(found.size_requirements.minimum, PROBE_SIDE))
    return network


def freeze_unused(network: nn.Module, side: int) -> None:
    """Take no gradients of weights that a training pass leaves out, such as SPAN's fused convolutions.

    So several processes, which wait for the gradients of all others, never wait for these.
    """
    probe = copy.deepcopy(network).train()  # whose statistics of batch normalisation may change
    with torch.random.fork_rng(devices=[]):
        probe(torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side)).sum().backward()
    for parameter, probed in zip(network.parameters(), probe.parameters(), strict=True):
        parameter.requires_grad_(probed.grad is not None)


def recognise(weights: Mapping[str, torch.Tensor]) -> Any:
    """What spandrel finds in these weights, an `ImageModelDescriptor`.

    Raises `RunError` when it knows no such network, when they do not fit it, or when it does not map RGB to RGB.
    """
    import spandrel  # seconds of imports that only who wants it waits for

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.meshgrid")  # its transformers call it in the old way
            found = spandrel.ModelLoader().load_from_state_dict(dict(weights))
    except spandrel.UnsupportedModelError as error:
        raise RunError("no network that spandrel knows has the weights of this file") from error
    except (RuntimeError, KeyError, ValueError) as error:
        raise RunError(f"the file's weights do not fit the network that they look like: {str(error)[:300]}") from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise RunError(f"the file's network, {found.architecture.name}, does not map one RGB image to another")
    return found
