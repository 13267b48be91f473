"""How large an experiment is: `small` runs on two CPU cores with photographs at hand, `paper` as the paper did."""

from dataclasses import dataclass
from pathlib import Path

from shared.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Scale:
    """What all experiments of one size have in common.

    recipe: settings of train/run.py. pretrain: its flags for the network that all others start from, unless a file of
    weights is given. rows: of a task's train and val datasets. patch: side of their HR crops. settings: parts of one
    operator's range (Fig. 1), values along an axis (Figs. 8, 9). fine_tune_steps: on each setting (Fig. 1).
    needs: data, files, hardware and hours, said before anything starts.
    """

    name: str
    pretrain: tuple[str, ...]
    train_rows: int
    val_rows: int
    train_patch: int
    val_patch: int
    settings: int
    values: int
    fine_tune_steps: int
    plans: int
    random_tasks: int
    grouping: tuple[str, ...]
    needs: str

    @property
    def recipe(self) -> Path:
        """Settings of train/run.py."""
        return RECIPES / f"{self.name}.yaml"


SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            name="small",
            pretrain=("--lr", "1e-3", "--iterations", "900", "--interval-steps", "900"),
            train_rows=400,
            val_rows=48,
            train_patch=96,
            val_patch=160,
            settings=10,
            values=10,
            fine_tune_steps=300,
            plans=40,
            random_tasks=40,
            # a hundred steps of 8 samples move so small a network little: a quarter of TGSR's thresholds
            grouping=("--grouping.images", "24", "--grouping.thresholds_db", "[0.2, 0.15, 0.1, 0.05]"),
            needs="photographs (scikit-image's unless --hr names others), two CPU cores, at most an hour an experiment",
        ),
        Scale(
            name="paper",
            pretrain=(),
            train_rows=20_000,
            val_rows=100,
            train_patch=256,
            val_patch=256,
            settings=50,
            values=30,
            fine_tune_steps=10_000,
            plans=4_000,
            random_tasks=100,
            grouping=(),
            needs="--hr with DIV2K, Flickr2K and OST; --val-hr and --test-hr with validation pictures of DIV2K; "
            "--init with RealESRNet_x4plus.pth; a GPU of 40 GB or more; days a network of 400 000 steps, so weeks "
            "for an experiment on one GPU (an estimate: not run here)",
        ),
    )
}


def get_scale(name: str) -> Scale:
    """The scale of that name. Raises `UsageError` for an unknown one."""
    if name not in SCALES:
        raise UsageError(f"unknown scale {name!r}: choose one of {', '.join(SCALES)}")
    return SCALES[name]
