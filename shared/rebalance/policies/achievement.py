"""Achievement-based balancing: a task gets less weight as it comes near what its single-task network achieves.

Yun, Cho, "Achievement-based training progress balancing for multi-task learning", ICCV 2023:
https://openaccess.thecvf.com/content/ICCV2023/html/Yun_Achievement-Based_Training_Progress_Balancing_for_Multi-Task_Learning_ICCV_2023_paper.html
"""

from dataclasses import dataclass

from ...config import option
from ...errors import require
from ..measurements import Measurements
from .policy import Decision, Form, Policy, normalised, split


@dataclass
class Achievement(Policy):
    """w_j ~ (1 - a_j / (P_j (1 + m)))^2: a_j is the shared network's smoothed PSNR, P_j that of the final reference.

    Weights are divided by their sum, because a softmax, as in LibMTL, is flat on PSNR. A task beyond its margin has no
    weight.
    """

    needs_references = True
    margin: float = option(0.05, "m, the share by which the single-task PSNR may be exceeded")
    focus: float = option(2.0, "exponent of the missing share")
    ema: float = option(0.9, "smoothing of a_j over intervals, from the first one on")
    form: Form = option("loss", "loss: the weights are coefficients, as in the paper; sampling: they are volumes")

    def __post_init__(self) -> None:
        require(self, {"ema": ("in [0, 1)", 0 <= self.ema < 1)})

    def interval(self, measurements: Measurements) -> Decision:
        """The weights follow what each task still lacks."""
        if measurements.final_db is None:
            raise ValueError("achievement needs the PSNR of single-task references")
        now = [float(row.mean()) for row in measurements.shared_db]
        before = self.memory.get("achieved_db", now)
        achieved = [self.ema * b + (1 - self.ema) * a for b, a in zip(before, now, strict=True)]
        self.memory["achieved_db"] = achieved
        goals = [(1 + self.margin) * float(row.mean()) for row in measurements.final_db]
        missing = [max(0.0, 1 - a / goal) ** self.focus for a, goal in zip(achieved, goals, strict=True)]
        return split(normalised(missing), self.form)
