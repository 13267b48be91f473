"""What a launcher asks for by its environment: it is obeyed, or refused in words."""

import os
from collections.abc import Mapping
from pathlib import Path

from shared.errors import UsageError
from train.settings import TrainSettings

REMEDY = (
    "on CPU start several with `torchrun --nproc_per_node N -- train/run.py ...` or `ACCELERATE_USE_CPU=true "
    "accelerate launch --multi_gpu --num_processes N train/run.py ...`"
)
ENGINES = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}
"""What Accelerate can be configured to, and this trainer does not do: every process holds the whole network."""
ADDRESS = "MASTER_PORT"
PARTS = "ACCELERATE_GRADIENT_ACCUMULATION_STEPS"


def require_launcher(environment: Mapping[str, str], settings: TrainSettings) -> None:
    """Raises `UsageError` for what Accelerate's configuration or environment asks and the settings do not."""
    for name, engine in ENGINES.items():
        if environment.get(name, "false").lower() in ("true", "1", "yes"):
            raise UsageError(
                f"Accelerate is configured for {engine}: every process trains the whole network here; choose "
                "multi-GPU (DDP) in `accelerate config`, or start with torchrun"
            )
    precision = environment.get("ACCELERATE_MIXED_PRECISION", "no").lower()
    if precision not in ("no", settings.precision):
        raise UsageError(
            f"Accelerate is configured for mixed precision {precision}, and --precision is {settings.precision}: give "
            f"--precision {precision} (fp32, bf16 or fp16), or --mixed_precision no to accelerate launch"
        )
    compiler = environment.get("ACCELERATE_DYNAMO_BACKEND", "no").lower()
    if compiler != "no":
        raise UsageError(
            f"Accelerate is configured for the dynamo backend {compiler}: give --compile here, and --dynamo_backend no "
            "to accelerate launch"
        )
    parts = environment.get(PARTS, "1")
    if parts not in ("1", str(settings.accumulate)):
        raise UsageError(
            f"Accelerate is configured for {parts} gradient accumulation steps, and --accumulate is "
            f"{settings.accumulate}: give --accumulate {parts}; --batch-size counts the samples of all its parts"
        )


def require_all_processes(environment: Mapping[str, str], num_processes: int) -> None:
    """Raises `UsageError` when a run would go on with other processes than were asked for.

    num_processes: that train together. `accelerate launch --cpu --num_processes 2` names an address where they meet,
    but starts one, without a WORLD_SIZE; others start all of WORLD_SIZE, but each of them may train for itself.
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment
    world_size = environment.get("WORLD_SIZE")
    if world_size is None and by_accelerate and ADDRESS in environment and not _launcher_inherited(ADDRESS):
        raise UsageError(f"accelerate was asked for several processes and started one: {REMEDY}")
    if world_size is not None and world_size != str(num_processes):
        raise UsageError(f"WORLD_SIZE is {world_size}, but {num_processes} train together: {REMEDY}")


def _launcher_inherited(name: str) -> bool:
    """Whether the launcher, our parent, found a variable in its own environment, as a cluster sets it for all."""
    try:
        found = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return True  # what cannot be known is no error
    return any(each.startswith(f"{name}=".encode()) for each in found)
