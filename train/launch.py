"""Whether a launcher started the processes that it was asked for."""

from collections.abc import Mapping

from shared.errors import UsageError

REMEDY = (
    "on CPU start several with `torchrun --nproc_per_node N -- train/run.py ...` or `ACCELERATE_USE_CPU=true "
    "accelerate launch --multi_gpu --num_processes N train/run.py ...`"
)


def require_all_processes(environment: Mapping[str, str], num_processes: int) -> None:
    """Raises `UsageError` when a run would go on with other processes than were asked for.

    num_processes: that train together. `accelerate launch --cpu --num_processes 2` names an address where they meet,
    but starts one, without a WORLD_SIZE; others start all of WORLD_SIZE, but each of them may train for itself.
    """
    by_accelerate = "ACCELERATE_MIXED_PRECISION" in environment
    world_size = environment.get("WORLD_SIZE")
    if world_size is None and by_accelerate and "MASTER_PORT" in environment:
        raise UsageError(f"accelerate was asked for several processes and started one: {REMEDY}")
    if world_size is not None and world_size != str(num_processes):
        raise UsageError(f"WORLD_SIZE is {world_size}, but {num_processes} train together: {REMEDY}")
