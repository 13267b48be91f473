"""Any network that spandrel knows, recognised by its weights: `--network.name spandrel --init FILE`."""

from collections.abc import Mapping

import torch
from torch import nn

from shared.errors import RunError, UsageError
from train.networks.depth import replace_drop_paths


def detect(weights: Mapping[str, torch.Tensor], scale: int) -> nn.Module:
    """The trainable network of these weights, filled with them.

    Raises `RunError` when spandrel knows no such network, or when it does not map RGB to RGB, `scale` times as large.
    """
    import spandrel  # seconds of imports that only who wants it waits for

    try:
        found = spandrel.ModelLoader().load_from_state_dict(dict(weights))
    except spandrel.UnsupportedModelError as error:
        raise RunError("no network that spandrel knows has the weights of this file") from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise RunError(f"the file's network, {found.architecture.name}, does not map one RGB picture to another")
    if found.scale != scale:
        raise UsageError(f"the file's network, {found.architecture.name}, enlarges by {found.scale}, not by {scale}")
    replace_drop_paths(found.model)
    return found.model.requires_grad_(True)
