"""Plans on the fly: the degradations that a task consists of, apart from any shard.

A task is a box of the space or one frozen plan. Its n-th sample on the fly has the plan of split `fly`, row n, so it is
never a row of a shard again.
"""

import math
from dataclasses import dataclass, replace

from ..degradation.partition import Subspace
from ..degradation.plan import Noise, Plan, Resize, draw_plan
from ..seeds import Draws

FLY = "fly"
"""The split that plans and crops on the fly are keyed with."""


@dataclass(frozen=True)
class Box:
    """Every sample draws all its numbers from one box of a partition."""

    subspace: Subspace

    def draw(self, seed: int, ordinal: int, patch: int, scale: int) -> Plan:
        """The plan of split `fly`, row `ordinal`."""
        return draw_plan(self.subspace, seed=seed, split=FLY, row=ordinal, height=patch, width=patch, scale=scale)


@dataclass(frozen=True)
class Frozen:
    """Every sample has the numbers of one plan (TGSR's tasks), and noise of its own.

    name: part of the key of the noise. patch: HR side that the sizes in the plan are meant for, pixels.
    """

    name: str
    plan: Plan
    patch: int

    def draw(self, seed: int, ordinal: int, patch: int, scale: int) -> Plan:
        """The plan with fresh noise seeds, its sizes in proportion to the patch."""
        draws = Draws(seed, FLY, self.name, ordinal)

        def resized(resize: Resize) -> Resize:
            height, width = (max(1, math.floor(side * patch / self.patch)) for side in (resize.height, resize.width))
            return replace(resize, height=height, width=width)

        def reseeded(noise: Noise) -> Noise:
            return replace(noise, seed=draws.word() >> 11)

        plan = self.plan
        return replace(
            plan,
            resize1=resized(plan.resize1),
            noise1=reseeded(plan.noise1),
            resize2=resized(plan.resize2),
            noise2=reseeded(plan.noise2),
        )


Plans = Box | Frozen
"""Where the plans of a task come from: frozen plain data, equal for equal degradations."""
