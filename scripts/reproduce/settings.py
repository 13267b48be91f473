"""The options of the experiments. Nothing heavy is imported here, so that a wrong option is answered at once."""

from dataclasses import dataclass
from pathlib import Path

from scripts.reproduce.scales import SCALES
from shared.config import option

SYSTEMS = Path(__file__).with_name("systems.yaml")


@dataclass(frozen=True)
class LabSettings:
    """What every experiment can be asked for."""

    scale: str = option("small", f"how large: {', '.join(SCALES)}")
    space: str = option("paper", "degradation space of the tasks: paper, paper-realesrgan, or a YAML file")
    hr: str = option("photos", "folder of HR images to train on; 'photos' = those of scikit-image")
    val_hr: str | None = option(None, "folder of HR images that weights are set on (default: 1 scene in 20 of --hr)")
    test_hr: str | None = option(None, "folder of HR images that results are reported on (default: those of --val-hr)")
    testset: list[str] | None = option(
        None, "further test sets, as NAME=PATH of train.evaluate: RealSR=RealSR_V3 DRealSR=Test_x4"
    )
    init: list[str] | None = option(
        None, "weights that every network starts from, FILE or NETWORK=FILE (default: pre-train a network on all tasks)"
    )
    lpips: list[str] | None = option(
        None, "LPIPS networks to measure with: vgg, alex, or none (default: those whose files are there)"
    )
    seeds: int = option(3, "networks of each kind, paired by seed")
    jobs: int = option(1, "networks trained at once, each on its share of the cores")
    out: str = option("runs/reproduce", "folder of all experiments; they share datasets and starting weights")
    dry_run: bool = option(False, "say what the experiment needs and costs, and stop")


@dataclass(frozen=True)
class TableSettings(LabSettings):
    """What the tables can be asked for."""

    systems: str = option(
        str(SYSTEMS), "YAML file that says where each released system is; the default explains itself"
    )
    networks: list[str] | None = option(
        None, "networks of Table 3: msrresnet, rrdbnet, swinir, hat (default: by scale)"
    )
    policies: list[str] | None = option(None, "further policies to train, in rows of their own below the paper's")


@dataclass(frozen=True)
class CropSettings(TableSettings):
    """What crop sheets can be asked for."""

    image: list[str] | None = option(
        None, "images to show, as SET/IMAGE (default: those on which the systems differ most)"
    )
    rows: int = option(4, "images, without --image")
    side: int = option(96, "side of a crop, HR pixels")


@dataclass(frozen=True)
class StudySettings(LabSettings):
    """What the study can be asked for."""

    parts: list[str] | None = option(None, "questions to ask (default: all; `scripts/reproduce/study.py` lists them)")


@dataclass(frozen=True)
class SurfaceSettings(LabSettings):
    """What the prediction of mixtures can be asked for."""

    arms: list[str] | None = option(
        None,
        "networks to compare with uniform: worst, gap, bounded (worst, no task loses more than 0.02 dB), tilt, "
        "rebalance, auto, policy-worst (default: worst gap tilt)",
    )
