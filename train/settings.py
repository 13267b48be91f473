"""TrainSettings of a run: one typed dataclass for YAML and command line."""

import itertools
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import yaml

from shared.config import option
from shared.degradation.space import MIN_PATCH
from shared.errors import UsageError, require, require_at_least
from shared.rebalance.options import EstimatorSettings
from shared.rebalance.policies import POLICIES
from shared.storage.atomic import write_text
from shared.text import without_password

CONFIG, GROUPS = "config.yaml", "groups.json"
"""Files in a run folder."""
NO_TRACKER = "none"
OPTIMIZERS = (
    "Adam", "AdamW", "Adadelta", "Adafactor", "Adagrad", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD"
)  # fmt: skip
"""Those of torch.optim that step on dense gradients without a closure."""


@dataclass(frozen=True)
class NetworkSettings:
    """Which network, in which size.

    Args:
        name: msrresnet, rrdbnet, swinir or hat; or spandrel, which takes the network that the file of --init holds
        options: sizes of the network, such as --network.options.num_feat 16; an unknown one is answered with the list
    """

    name: str = "msrresnet"
    options: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class GANSettings:
    """Losses of --stage gan. Defaults: Real-ESRGAN's.

    Args:
        l1: weight of the L1 loss
        perceptual: weight of the perceptual loss; 0 needs no VGG19
        adversarial: weight of the GAN loss
        num_feat: width of the discriminator
    """

    l1: float = 1.0
    perceptual: float = 1.0
    adversarial: float = 0.1
    num_feat: int = 64

    def __post_init__(self) -> None:
        """Raises `UsageError` for values that make no losses."""
        weights = ("l1", "perceptual", "adversarial")
        require(self, {name: ("0 or more", 0 <= getattr(self, name) < math.inf) for name in weights}, "gan.")
        require_at_least(1, self, "num_feat", prefix="gan.")


@dataclass(frozen=True)
class ScheduleSettings:
    """How the learning rate changes while a network trains.

    Args:
        name: constant; multistep, times gamma at every milestone; cosine, down to least at the end of --iterations
        warmup_steps: steps in which the rate grows to --lr first
        milestones: rising steps of multistep
        gamma: factor at each milestone
        least: share of --lr at the end of cosine
    """

    name: Literal["constant", "multistep", "cosine"] = "constant"
    warmup_steps: int = 0
    milestones: list[int] = field(default_factory=list)
    gamma: float = 0.5
    least: float = 0.0

    def __post_init__(self) -> None:
        """Raises `UsageError` for values that make no schedule."""
        rising = all(a < b for a, b in itertools.pairwise([0, *self.milestones]))
        rules = {
            "milestones": (
                "rising steps, of multistep alone",
                rising and bool(self.milestones) == (self.name == "multistep"),
            ),
            "gamma": ("in (0, 1]", 0 < self.gamma <= 1),
            "least": ("in [0, 1]", 0 <= self.least <= 1),
        }
        require_at_least(0, self, "warmup_steps", prefix="schedule.")
        require(self, rules, "schedule.")

    def factor(self, step: int, iterations: int) -> float:
        """The share of --lr in the step that follows `step` finished ones: a function of the step, without a state.

        cosine is SGDR's without restarts (arXiv 1608.03983).
        """
        factor = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        if self.name == "multistep":
            return factor * self.gamma ** sum(step >= milestone for milestone in self.milestones)
        if self.name == "cosine":
            return factor * (self.least + (1 - self.least) * (1 + math.cos(math.pi * step / iterations)) / 2)
        return factor


@dataclass(frozen=True)
class GroupingSettings:
    """How --policy tgsr finds its groups. The defaults are TGSR's, except that TGSR tries 4,000 plans.

    Args:
        plans: number of frozen plans to try, drawn from the tasks in turn
        steps: fine-tuning steps on each plan alone; the joint fine-tuning has this number for each chosen plan
        share: share of the plans, those of the largest gains, that enter the joint fine-tuning
        thresholds_db: descending thresholds, dB; group k holds plans whose joint gain is between thresholds k and k - 1
        images: number of validation crops that measure a gain; 0 takes all
    """

    plans: int = 100
    steps: int = 100
    share: float = 0.4
    thresholds_db: list[float] = field(default_factory=lambda: [0.8, 0.6, 0.4, 0.2])
    images: int = 32

    def __post_init__(self) -> None:
        """Raises `UsageError` for values that make no groups."""
        falling = all(a > b for a, b in itertools.pairwise(self.thresholds_db)) and all(
            map(math.isfinite, self.thresholds_db)
        )
        rules = {
            "share": ("in (0, 1]", 0 < self.share <= 1),
            "thresholds_db": ("finite, falling and not empty", bool(self.thresholds_db) and falling),
        }
        require_at_least(1, self, "plans", "steps", prefix="grouping.")
        require_at_least(0, self, "images", prefix="grouping.")
        require(self, rules, "grouping.")

    @property
    def num_chosen(self) -> int:
        """Plans in the joint fine-tuning."""
        return max(1, round(self.share * self.plans))

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all fine-tunings."""
        return self.steps * (self.plans + self.num_chosen)


@dataclass(frozen=True)
class TrainSettings:
    """What `train/run.py` can be asked for. Defaults: the paper's interval, batch and length, stage L1."""

    help_groups: ClassVar[dict[str, tuple[str, ...]]] = {
        "basic": ("run", "mode", "iterations", "batch_size", "init", "network", "stage", "dry_run"),
        "data": ("shards", "workers"),
        "method": ("policy", "policy_options", "references"),
    }

    mode: Literal["shared", "single", "references", "pilot", "groups"] = option(
        "shared",
        "what is trained. shared: one network for all tasks; single: one task's reference; references: all of "
        "them; pilot: short ones in RUN/pilot, from which realsr plan-mixture predicts what a mixture gains; groups: "
        "no network, but the groups of --policy tgsr",
        affects="place",
    )
    run: str = option("runs/default", "folder of the run; running the same command again resumes it", affects="place")
    shards: str = option("shards", "folder or url of the datasets", affects="place")
    tasks: list[str] | None = option(
        None,
        "tasks to use (default: every dataset in --shards; over http, which cannot be listed, they must be named)",
        affects="place",
    )
    cache: str | None = option(
        None,
        "folder where shards from a url are kept, on a disk of each node (default: in the user's cache folder)",
        affects="place",
    )
    cache_gb: float = option(64.0, "size limit of --cache, GB", affects="speed")
    task: str | None = option(None, "task of --mode single", affects="place")
    references: str | None = option(
        None,
        "run folder, folder of references, or pack (default: RUN/references); a pack is what --mode references writes. "
        "In RUN/references those that are missing are trained if the policy needs them",
        affects="place",
    )
    init: str | None = option(
        None,
        "weights that every network starts from (default: random); a run folder, .pth or .safetensors",
        affects="losses",
        by_content=True,
    )
    network: NetworkSettings = option(NetworkSettings, "network to train", affects="losses")
    stage: str = option(
        "psnr",
        "losses to train on: psnr or gan; psnr is L1, gan is L1, perceptual and a U-Net discriminator",
        affects="losses",
    )
    reference_stage: str | None = option(
        None,
        "what references are trained on: psnr or gan (default: as --stage, so that gaps compare like with like)",
        affects="mixture",
        absent=None,
    )
    gan: GANSettings = option(GANSettings, "losses of --stage gan", affects="losses")
    init_discriminator: str | None = option(
        None,
        "weights file that the discriminator starts from (default: random weights)",
        affects="losses",
        by_content=True,
    )
    vgg19: str | None = option(
        None, "VGG19 of the perceptual loss (default: vgg19-dcbb9e9d.pth in torch's hub folder)", affects="place"
    )
    policy: str = option(
        "rebalance",
        f"rule that sets the mixture, such as rebalance (the paper's) or uniform; all rules: {', '.join(POLICIES)}",
        affects="mixture",
    )
    policy_options: dict[str, Any] = option(
        dict,
        "options of the policy, as --policy-options.NAME VALUE; `--policy rlw --help` lists those of rlw",
        affects="mixture",
    )
    pilot_share: float = option(
        0.2, "length of a pilot's references, as a share of the iterations, in whole intervals", affects="length"
    )
    groups: str | None = option(
        None,
        f"file of --policy tgsr's groups; made first if it is not there (default: {GROUPS} in the run folder)",
        affects="place",
    )
    grouping: GroupingSettings = option(
        GroupingSettings, "how the groups of --policy tgsr are found", affects="mixture"
    )
    estimator: EstimatorSettings = option(
        EstimatorSettings, "how gaps become weights; the defaults are the paper's rule", affects="mixture"
    )
    moments: int = option(
        0,
        "samples of each task whose gradients are measured at each boundary, for --policy optimal and the log; each is "
        "a forward and a backward pass of one sample; 0: none",
        affects="mixture",
    )
    iterations: int = option(400_000, "optimiser steps of every network", affects="length")
    interval_steps: int = option(
        5_000, "optimiser steps of an interval; the weights are estimated anew after each", affects="samples"
    )
    batch_size: int = option(48, "samples of an optimiser step, over all processes", affects="samples")
    lr: float = option(1e-4, "learning rate", affects="losses")
    schedule: ScheduleSettings = option(
        ScheduleSettings, "how the learning rate changes", affects="losses", absent=ScheduleSettings()
    )
    optimizer: str = option(
        "Adam", f"optimiser, one of torch.optim: {', '.join(OPTIMIZERS)}", affects="losses", absent="Adam"
    )
    optimizer_options: dict[str, Any] = option(
        dict,
        "arguments of the optimiser other than the rate, as --optimizer-options.weight_decay 0.01; betas are 0.9 and "
        "0.99 where it has them",
        affects="losses",
        absent={},
    )
    ema: float = option(0.999, "decay of the averaged weights, which are evaluated and published", affects="losses")
    ema_warmup: bool = option(
        True,
        "let the averaged weights follow faster in the beginning: the decay of step t is at most (1 + t) / (10 + t)",
        affects="losses",
        absent=False,
    )
    seed: int = option(0, "seed of initialisation, sample order and flips", affects="chance")
    flip: bool = option(True, "flip half of the samples horizontally", affects="samples")
    source: Literal["auto", "shards", "fly", "gpu"] = option(
        "auto",
        "where samples come from. shards: stored pairs; fly: HR crops that loader workers degrade; gpu: HR crops that "
        "the device degrades in the training step; auto: shards, and for a task that has none or reaches max_repeats "
        "gpu if there is an accelerator, else fly",
        affects="samples",
    )
    hr: str | None = option(
        None,
        "HR images to degrade during training (default: those in --shards); a folder, tars, url or photos, for "
        "--source fly and gpu. Decoded images are kept in the folder REALSR_CACHE, up to REALSR_CACHE_GB (16) GB",
        affects="samples",
        by_content=True,
    )
    patch: int | None = option(
        None,
        "HR side of samples on the fly when there are no shards, pixels (default: as the val sets)",
        affects="samples",
    )
    max_repeats: float | None = option(
        None,
        "largest mean number of times that a stored row is used; beyond it, --source auto makes samples on the fly "
        "(default: no limit)",
        affects="samples",
    )
    max_damage: float = option(
        0.01,
        "largest share of an interval's samples that may be replaced because their rows are lost; beyond it the run "
        "stops",
        affects="speed",
    )
    window_shards: int = option(8, "number of shards of a task that rows are drawn from at a time", affects="chance")
    workers: int = option(2, "loader processes; 0 loads in the training process", affects="speed")
    log_steps: int = option(100, "optimiser steps between two lines of metrics.jsonl", affects="speed")
    save_steps: int = option(
        5_000, "optimiser steps between two checkpoints; every interval boundary writes one too", affects="speed"
    )
    keep: int = option(3, "number of checkpoints to keep", affects="speed")
    keep_best: Literal["none", "worst", "mean"] = option(
        "none",
        "keep the checkpoint with the highest PSNR at a boundary in RUN/best: of the worst task, or the mean of tasks",
        affects="speed",
    )
    trackers: list[str] = option(
        lambda: ["tensorboard"],
        "where curves and sample images go: tensorboard (in the run folder), wandb, others of Accelerate, or none",
        affects="speed",
    )
    precision: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "arithmetic of the networks in training; weights, losses and evaluation are fp32", affects="losses"
    )
    accumulate: int = option(
        1, "number of parts into which a process divides its samples of a step, to need less memory", affects="chance"
    )
    clip: float = option(0.0, "largest norm of the gradient of a network; 0 does not clip", affects="losses")
    compile: bool = option(
        False, "compile the networks by torch.compile: it takes a minute, then steps are faster", affects="chance"
    )
    channels_last: bool = option(
        True, "keep networks in the channels-last layout; it is faster on CPUs and on tensor cores", affects="chance"
    )
    dry_run: bool = option(False, "print what would be trained, and what it costs; write nothing", affects="speed")

    def __post_init__(self) -> None:
        """Raises `UsageError` for values that no run can have."""
        require_at_least(1, self, "iterations", "interval_steps", "batch_size", "accumulate", "window_shards")
        require_at_least(1, self, "log_steps", "save_steps", "keep")
        require_at_least(MIN_PATCH, self, "patch")
        require_at_least(0, self, "workers")
        whole = self.iterations % self.interval_steps == 0
        rules = {
            "iterations": (f"a multiple of interval_steps {self.interval_steps}", whole),
            "lr": ("positive", 0 < self.lr < math.inf),
            "clip": ("a norm, or 0 for none", 0 <= self.clip < math.inf),
            "ema": ("in [0, 1)", 0 <= self.ema < 1),
            "max_damage": ("in [0, 1]", 0 <= self.max_damage <= 1),
            "pilot_share": ("in (0, 1]", 0 < self.pilot_share <= 1),
            "cache_gb": ("positive", 0 < self.cache_gb < math.inf),
            "moments": ("0, or at least 2 for a variance", self.moments == 0 or self.moments >= 2),
        }
        require(self, rules)
        if self.optimizer not in OPTIMIZERS:
            raise UsageError(f"unknown optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")
        if self.mode == "single" and not self.task:
            raise UsageError("--mode single needs --task, the task to train on")
        if self.max_repeats is not None and (self.max_repeats <= 0 or self.source != "auto"):
            raise UsageError(
                f"max_repeats is {self.max_repeats}, source {self.source}: it must be positive, and source auto"
            )
        if NO_TRACKER in self.trackers and len(self.trackers) > 1:
            raise UsageError(f"trackers are {', '.join(self.trackers)}: none goes alone")

    def learning_rate(self, step: int) -> float:
        """The rate of the optimiser step that follows `step` finished ones."""
        return self.lr * self.schedule.factor(step, self.iterations)

    def ema_decay(self, step: int) -> float:
        """What the averaged weights keep of themselves at that step; the warm-up is TensorFlow's (1 + t) / (10 + t)."""
        return min(self.ema, (1 + step) / (10 + step)) if self.ema_warmup else self.ema

    @property
    def pilot_iterations(self) -> int:
        """Optimiser steps of a pilot's references: whole intervals, at least one."""
        return self.interval_steps * max(1, round(self.pilot_share * self.iterations / self.interval_steps))

    @property
    def tracker_names(self) -> list[str]:
        """The trackers to log to."""
        return [name for name in dict.fromkeys(self.trackers) if name != NO_TRACKER]

    def to_plain(self) -> dict[str, Any]:
        """The settings as plain data for files and trackers, without passwords in urls: a resume gives them again."""
        values = asdict(self)
        return {name: without_password(value) if isinstance(value, str) else value for name, value in values.items()}

    def save(self, folder: Path) -> None:
        """Write the resolved settings into the run folder."""
        write_text(folder / CONFIG, yaml.safe_dump(self.to_plain(), sort_keys=False))
