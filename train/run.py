"""Train a super-resolution network on a measured mixture of tasks.

Without options, the command reads the training and validation datasets in shards/, trains the single-task references
that are missing, and then trains the shared network into runs/default. Running the same command again resumes it.

Examples:
realsr train --dry-run
realsr train --config train/recipes/demo.yaml
realsr train --policy uniform --run runs/uniform
"""

import os
import re
import sys
from importlib import import_module
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # a launcher puts train/ there
    import_module("shared.errors").quiet_interrupt()
    import_module("train")  # as `python -m train.run` does, before PyTorch

from shared.command import spelling
from shared.config import parse
from shared.errors import UsageError, run_command
from shared.mixing.tasks import find_tasks
from shared.rebalance.policies import describe_policy, make_policy
from shared.shards.cache import ShardCache, default_folder
from shared.storage.places import place
from train.launcher import require_launcher
from train.networks import DETECTED, require_network
from train.optimisation.stages import require_stage
from train.record.mixtures import with_weights_of_file
from train.record.references import TRACE
from train.record.resume import begun_settings, references_place, require_resumable, with_rules_of_the_beginning
from train.settings import TrainSettings

PHOTOS = "photos"
"""As `--hr`: the photographs that scikit-image carries."""


BARE = (
    "without options: the network msrresnet with 1.5 million parameters, policy rebalance, stage psnr, on the tasks in "
    "shards/, into runs/default (the paper's main run is --config train/recipes/paper.yaml)"
)


def main(argv: list[str]) -> int:
    """The command; see `TrainSettings`. Returns the exit code.

    Names, paths and settings are checked before anything heavy is imported.
    """
    if not argv and int(os.environ.get("RANK", "0")) == 0:
        print(BARE)
    settings = with_weights_of_file(
        parse(TrainSettings, argv, spelling("train"), __doc__ or "", topics={"policy": describe_policy})
    )
    require_launcher(os.environ, settings)
    require_known_names(settings)
    require_files(settings)
    settings = with_rules_of_the_beginning(settings)
    if settings.mode == "shared":
        require_resumable(Path(settings.run), settings)
    on_the_fly = settings.source in ("fly", "gpu") or settings.hr is not None
    cache = ShardCache(Path(settings.cache or default_folder()), int(settings.cache_gb * 1e9))
    tasks = find_tasks(place(settings.shards), settings.tasks, on_the_fly=on_the_fly, patch=settings.patch, cache=cache)
    return import_module("train.session").train_all(settings, tasks)


def require_known_names(settings: TrainSettings) -> None:
    """Raises `UsageError` for an unknown network, stage or policy, or an option that it does not have."""
    network = settings.network
    if network.name != DETECTED:
        require_network(network.name, network.options)
    elif settings.init is None:
        raise UsageError(f"--network.name {DETECTED} is whatever a weights file holds: give --init FILE")
    require_stage(settings.stage)
    if settings.reference_stage:
        require_stage(settings.reference_stage)
    make_policy(settings.policy, settings.policy_options, settings.seed)


def require_files(settings: TrainSettings) -> None:
    """Raises `UsageError` for a file or folder that the run needs and that is not there."""
    needed: dict[str, tuple[str, str | None]] = {"vgg19": ("VGG19 file", settings.vgg19)}
    if settings.hr != PHOTOS and not re.search(r"://|[*?[]", settings.hr or ""):
        needed["hr"] = ("HR folder", settings.hr)
    if settings.references and settings.mode == "shared":
        place = references_place(settings)
        if not place.is_file() and not any(place.glob(f"*/{TRACE}")):
            raise UsageError(
                f"no references in {place}: name a run folder, the folder of the references or a pack, or train them "
                f"there first (--mode references --references {place})"
            )
    if not begun_settings(Path(settings.run)):  # a run that has begun holds its weights
        needed["init"] = ("weights file", settings.init)
        needed["init_discriminator"] = ("weights file", settings.init_discriminator)
    for name, (what, path) in needed.items():
        if path is not None and not Path(path).exists():
            raise UsageError(f"no {what} {path}: put one there, or correct --{name.replace('_', '-')}")


if __name__ == "__main__":
    sys.exit(run_command(main))
