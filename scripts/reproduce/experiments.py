"""The experiments by name: what each is, its options, and the module that does it."""

from collections.abc import Mapping
from typing import NamedTuple

from scripts.reproduce.settings import CropSettings, LabSettings, StudySettings, SurfaceSettings, TableSettings

ONE_SEED = ("seeds",)
VALIDATION_ONLY = ("testset", "lpips")


class Experiment(NamedTuple):
    """One table or figure.

    module: has `steps(lab)`, the training steps that it takes at most, and `run(lab)`. without: options that it does
    not have.
    """

    purpose: str
    module: str
    settings: type[LabSettings]
    without: tuple[str, ...] = ()


EXPERIMENTS: Mapping[str, Experiment] = {
    "table1": Experiment("Table 1: systems on DIV2K4Level", "tables", TableSettings, ("networks",)),
    "table2": Experiment(
        "Table 2: systems on RealSR, DRealSR and DIV2K-random", "tables", TableSettings, ("networks",)
    ),
    "table3": Experiment("Table 3: four networks, released, plain and with the method", "tables", TableSettings),
    "table4": Experiment("Table 4: ways to weigh the tasks", "tables", TableSettings, ("networks",)),
    "table5": Experiment(
        "Table 5: numbers of tasks; re-sampling against re-weighting", "tables", TableSettings, ("networks",)
    ),
    "fig1": Experiment(
        "Fig. 1: which operator makes tasks differ", "fig1", LabSettings, (*ONE_SEED, *VALIDATION_ONLY, "test_hr")
    ),
    "fig4": Experiment("Fig. 4: crops of the systems of Tables 1 and 2", "crops", CropSettings, ("networks",)),
    "fig5a": Experiment(
        "Fig. 5 (a): whether groups of random tasks last during training",
        "fig5a",
        LabSettings,
        (*ONE_SEED, *VALIDATION_ONLY, "test_hr"),
    ),
    "fig5b": Experiment(
        "Fig. 5 (b): the weights over the intervals of the main run",
        "fig5b",
        LabSettings,
        (*VALIDATION_ONLY, "test_hr"),
    ),
    "fig6": Experiment("Fig. 6: crops of the four networks, without and with the method", "crops", CropSettings),
    "fig7": Experiment("Fig. 7: the shared network against the single-task networks", "fig7", LabSettings),
    "fig8": Experiment(
        "Fig. 8: the gap along noise and blur, within the tables' ranges",
        "linearity",
        LabSettings,
        (*ONE_SEED, *VALIDATION_ONLY, "test_hr"),
    ),
    "fig9": Experiment(
        "Fig. 9: the gap along noise and blur, beyond the ends of the linear range",
        "linearity",
        LabSettings,
        (*ONE_SEED, *VALIDATION_ONLY, "test_hr"),
    ),
    "fig10": Experiment("Fig. 10: more crops, synthetic test sets", "crops", CropSettings, ("networks",)),
    "fig11": Experiment("Fig. 11: more crops, real test sets", "crops", CropSettings, ("networks",)),
    "study": Experiment(
        "Not in the paper: every policy, temperatures and distinct rows, paired by seed",
        "study",
        StudySettings,
        ("lpips",),
    ),
    "surface": Experiment(
        "Not in the paper: what mixtures gain, predicted from short references and measured",
        "surface",
        SurfaceSettings,
        ("lpips", "testset"),
    ),
}
