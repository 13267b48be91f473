"""The experiments by name: what each is, its options, and the module that does it."""

from collections.abc import Mapping
from typing import NamedTuple

from scripts.reproduce.settings import CropSettings, LabSettings, StudySettings, SurfaceSettings, TableSettings

NO_TEST = ("testset", "lpips", "test_hr")
"""Options without a meaning for figures that measure on validation crops."""
ONE_SEED = ("seeds", *NO_TEST)
ONE_NETWORK = ("networks",)


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
    "table1": Experiment("Table 1: systems on DIV2K4Level", "tables", TableSettings, ONE_NETWORK),
    "table2": Experiment("Table 2: systems on RealSR, DRealSR and DIV2K-random", "tables", TableSettings, ONE_NETWORK),
    "table3": Experiment("Table 3: four networks, released, plain and with the method", "tables", TableSettings),
    "table4": Experiment("Table 4: ways to weigh the tasks", "tables", TableSettings, ONE_NETWORK),
    "table5": Experiment("Table 5: numbers of tasks; re-sampling, re-weighting", "tables", TableSettings, ONE_NETWORK),
    "fig1": Experiment("Fig. 1: which operator makes tasks differ", "fig1", LabSettings, ONE_SEED),
    "fig4": Experiment("Fig. 4: crops of the systems of Tables 1 and 2", "crops", CropSettings, ONE_NETWORK),
    "fig5a": Experiment("Fig. 5 (a): whether groups of random tasks last", "fig5a", LabSettings, ONE_SEED),
    "fig5b": Experiment("Fig. 5 (b): the weights over the intervals of the main run", "fig5b", LabSettings, NO_TEST),
    "fig6": Experiment("Fig. 6: crops of the four networks, without and with the method", "crops", CropSettings),
    "fig7": Experiment("Fig. 7: the shared network against the single-task networks", "fig7", LabSettings),
    "fig8": Experiment("Fig. 8: the gap along noise and blur, in the usual ranges", "linearity", LabSettings, ONE_SEED),
    "fig9": Experiment("Fig. 9: the same beyond the ends of the linear range", "linearity", LabSettings, ONE_SEED),
    "fig10": Experiment("Fig. 10: more crops, synthetic test sets", "crops", CropSettings, ONE_NETWORK),
    "fig11": Experiment("Fig. 11: more crops, real test sets", "crops", CropSettings, ONE_NETWORK),
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
