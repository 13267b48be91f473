"""How large an experiment is: `small` takes minutes and `medium` hours of two CPU cores, `paper` days of GPUs."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from shared.errors import UsageError

RECIPES = Path(__file__).parent / "recipes"
MAIN_RECIPE = Path(__file__).parents[2] / "train" / "recipes" / "paper.yaml"


@dataclass(frozen=True)
class Scale:
    """What all experiments of one size have in common.

    recipe: settings of train/run.py. other_networks: sizes of the networks that the recipe does not name.
    table3: networks of Table 3 unless others are named. pretrain: flags of train/run.py for the network that all others
    start from, unless weights are given. train_rows, val_rows, test_rows: rows of a task's datasets. train_patch,
    val_patch: side of their HR crops; test crops are as large as those of validation. configurations: values of each
    operator in Fig. 1; patterns: degradations in Fig. 1 (a); values: of an operator in Figs. 8 and 9; fine_tune_steps:
    on each of all these. plans: among which groups are looked for; grouping: further flags of that search.
    random_tasks: tasks in Fig. 5 (a). needs: data, files, hardware.
    step_seconds: time of a training step of the recipe's network with all that belongs to it, from and to; timed: where
    that figure is from.
    """

    name: str
    recipe: Path
    other_networks: Mapping[str, Mapping[str, int]]
    table3: tuple[str, ...]
    pretrain: tuple[str, ...]
    train_rows: int
    val_rows: int
    test_rows: int
    train_patch: int
    val_patch: int
    configurations: int
    patterns: int
    values: int
    fine_tune_steps: int
    plans: int
    random_tasks: int
    grouping: tuple[str, ...]
    needs: str
    step_seconds: tuple[float, float]
    timed: str

    def setting(self, name: str) -> Any:
        """A setting of the recipe."""
        return yaml.safe_load(self.recipe.read_text())[name]

    @property
    def iterations(self) -> int:
        """Length of a run, steps."""
        return self.setting("iterations")

    @property
    def interval_steps(self) -> int:
        """Length of an interval between two measurements, steps."""
        return self.setting("interval_steps")

    @property
    def pretrain_steps(self) -> int:
        """Length of the training that all others start from."""
        return int(self.pretrain[self.pretrain.index("--iterations") + 1]) if self.pretrain else 0

    @property
    def network(self) -> str:
        """Name of the recipe's network."""
        return self.setting("network")["name"]

    def other_network(self, name: str) -> dict[str, Any]:
        """Name and sizes of a network that is not the recipe's. Raises `UsageError` for an unknown one."""
        if name not in self.other_networks:
            known = ", ".join([self.network, *self.other_networks])
            raise UsageError(f"unknown network {name!r}: scale {self.name} has {known}")
        return {"name": name, "options": dict(self.other_networks[name])}


SMALL = Scale(
    name="small",
    recipe=RECIPES / "small.yaml",
    other_networks={
        "rrdbnet": {"num_feat": 16, "num_block": 1, "num_grow_ch": 8},
        "swinir": {"embed_dim": 24, "num_groups": 1, "depth": 2, "num_heads": 2},
        "hat": {"embed_dim": 24, "num_groups": 1, "depth": 2, "num_heads": 2, "window_size": 8, "squeeze_factor": 6},
    },
    table3=("msrresnet", "rrdbnet"),
    # after 900 steps it is no better than bicubic on many images
    pretrain=("--lr", "1e-3", "--iterations", "8000", "--interval-steps", "1000"),
    train_rows=400,
    val_rows=48,
    test_rows=240,  # with 48 the same networks differed by 0.1 dB between two draws
    train_patch=96,
    val_patch=160,
    configurations=10,
    patterns=10,
    values=10,
    fine_tune_steps=300,
    plans=40,
    random_tasks=40,
    # 100 steps of 8 samples move so small a network little, so these are a quarter of TGSR's thresholds
    grouping=("--grouping.images", "24", "--grouping.thresholds_db", "[0.2, 0.15, 0.1, 0.05]"),
    needs="photographs (scikit-image's unless --hr names others) and two CPU cores",
    step_seconds=(0.04, 0.09),
    timed="0.04 to 0.09 s of one core per step, tests included, measured over 121,000 steps of the study",
)
MEDIUM = replace(
    SMALL,
    name="medium",
    recipe=RECIPES / "medium.yaml",
    train_rows=3000,
    fine_tune_steps=1500,
    needs=f"{SMALL.needs}, for hours",
)
PAPER = Scale(
    name="paper",
    recipe=MAIN_RECIPE,
    other_networks={"msrresnet": {}, "swinir": {}, "hat": {}},
    table3=("msrresnet", "rrdbnet", "swinir", "hat"),
    pretrain=(),
    train_rows=20_000,
    val_rows=100,
    test_rows=1000,  # ten of each photograph of DIV2K's validation set
    train_patch=256,
    val_patch=256,
    configurations=50,
    patterns=50,
    values=30,
    fine_tune_steps=10_000,
    plans=4_000,
    random_tasks=100,
    grouping=(),
    needs="--hr with DIV2K, Flickr2K and OST; --val-hr and --test-hr with validation images of DIV2K; "
    "--init with RealESRNet_x4plus.pth; vgg19-dcbb9e9d.pth in torch's hub folder; a GPU of 40 GB or more",
    step_seconds=(0.4, 1.1),
    timed="2 to 5 days on one GPU for 400,000 steps of stage gan: an estimate, not run here",
)
SCALES = {scale.name: scale for scale in (SMALL, MEDIUM, PAPER)}


def get_scale(name: str) -> Scale:
    """The scale of that name. Raises `UsageError` for an unknown one."""
    if name not in SCALES:
        raise UsageError(f"unknown scale {name!r}: choose one of {', '.join(SCALES)}")
    return SCALES[name]
