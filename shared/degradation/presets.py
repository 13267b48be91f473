"""The spaces that have a name, with the table or file that each number comes from.

Paper: Tables 6-9, equal in all four tasks unless a comment says otherwise; what the tables leave open is read as
docs/method.md says, or taken from Real-ESRGAN's option file.
"""

from collections.abc import Mapping
from dataclasses import replace

from ..errors import UsageError
from .space import BlurSpace, FinalSpace, JpegSpace, NoiseSpace, Range, ResizeSpace, Space

ISO_ANISO = {"iso": 0.69, "aniso": 0.31}  # Tables 6-9: "iso/aniso with probability .69/.31"
SIX_FAMILIES = {  # Real-ESRGAN's options; the iso kinds sum to .69, the aniso kinds to .31
    "iso": 0.45,
    "aniso": 0.25,
    "generalized_iso": 0.12,
    "generalized_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}
HALF_HALF = {"gaussian": 0.5, "poisson": 0.5}
# Tables 6-9 list [0.2, 0.7, 0.1] under "down / same / up"; Real-ESRGAN lists the same numbers as up / down / keep.
AS_LABELLED = ResizeSpace({"down": 0.2, "keep": 0.7, "up": 0.1}, Range(0.15, 1.5))
AS_REALESRGAN = ResizeSpace({"up": 0.2, "down": 0.7, "keep": 0.1}, Range(0.15, 1.5))


def _paper(name: str, families: Mapping[str, float], resize: ResizeSpace) -> Space:
    """The union of Tables 6 (mild), 7 (blur), 8 (noise) and 9 (severe), which meet at the middle of every range."""
    return Space(
        name=name,
        blur1=BlurSpace(Range(1.6, 3.0), families),  # Tables 6, 8: [1.6, 2.3]; Tables 7, 9: [2.3, 3]
        resize1=resize,
        noise1=NoiseSpace(  # Tables 6, 7: [1, 4.5] and [.1, .4]; Tables 8, 9: [4.5, 8] and [.4, .7]
            Range(1.0, 8.0), Range(0.1, 0.7), HALF_HALF
        ),
        jpeg1=JpegSpace(),
        blur2=BlurSpace(Range(0.8, 1.6), families, apply=0.8),  # Tables 6, 8: [.8, 1.2]; Tables 7, 9: [1.2, 1.6]
        resize2=resize,
        noise2=NoiseSpace(  # Tables 6, 7: [1, 4] and [.1, .35]; Tables 8, 9: [4, 7] and [.35, .6]
            Range(1.0, 7.0), Range(0.1, 0.6), HALF_HALF
        ),
        jpeg2=JpegSpace(),
        final=FinalSpace(),
    )


def _widened(space: Space) -> Space:
    """Fig. 9's ranges of stage 1, where the linear trend of imbalance was looked for.

    Stage 2 and the Poisson scales are widened in the proportion of the tables.
    """
    return replace(
        space,
        name=f"{space.name}-wide",
        blur1=replace(space.blur1, sigma=Range(0.4, 3.8)),
        blur2=replace(space.blur2, sigma=Range(0.114285714286, 2.057142857143)),
        noise1=NoiseSpace(Range(1.0, 19.0), Range(0.1, 1.642857142857), HALF_HALF),
        noise2=NoiseSpace(Range(1.0, 16.428571428571), Range(0.1, 1.385714285714), HALF_HALF),
    )


def _realesrgan(name: str) -> Space:
    """The numbers of Real-ESRGAN's option file for x4plus."""
    return Space(
        name=name,
        blur1=BlurSpace(Range(0.2, 3.0), SIX_FAMILIES),
        resize1=AS_REALESRGAN,
        noise1=NoiseSpace(Range(1.0, 30.0), Range(0.05, 3.0), HALF_HALF),
        jpeg1=JpegSpace(),
        blur2=BlurSpace(Range(0.2, 1.5), SIX_FAMILIES, apply=0.8),
        resize2=ResizeSpace({"up": 0.3, "down": 0.4, "keep": 0.3}, Range(0.3, 1.2)),
        noise2=NoiseSpace(Range(1.0, 25.0), Range(0.05, 2.5), HALF_HALF),
        jpeg2=JpegSpace(),
        final=FinalSpace(),
        default_partition="full",
    )


def _milder(name: str) -> Space:
    """Real-ESRGAN's numbers with weaker resizes, half the noise and higher JPEG qualities."""
    space = _realesrgan(name)
    return replace(
        space,
        resize1=replace(space.resize1, factor=Range(0.3, 1.5)),
        noise1=NoiseSpace(Range(1.0, 15.0), Range(0.05, 2.0), HALF_HALF),
        jpeg1=JpegSpace(60, 95),
        blur2=replace(space.blur2, apply=0.5),
        resize2=replace(space.resize2, factor=Range(0.6, 1.2)),
        noise2=NoiseSpace(Range(1.0, 12.0), Range(0.05, 1.0), HALF_HALF),
        jpeg2=JpegSpace(60, 100),
    )


PAPER = _paper("paper", ISO_ANISO, AS_LABELLED)

SPACES: dict[str, Space] = {
    space.name: space
    for space in (
        PAPER,
        _widened(PAPER),
        _paper("paper-realesrgan", SIX_FAMILIES, AS_REALESRGAN),
        _realesrgan("realesrgan"),  # Real-ESRGAN, options/train_realesrgan_x4plus.yml
        _milder("pasd"),  # PASD, pasd/dataloader/params_realesrgan.yml; SeeSR, dataloaders/params_realesrgan.yml
        replace(  # StableSR, configs/stableSRNew/v2-finetune_text_T_512.yaml, without its 1 % of undegraded images
            _milder("stablesr"),
            blur1=BlurSpace(
                Range(0.2, 1.5), SIX_FAMILIES, beta_generalized=Range(0.5, 2.0), beta_plateau=Range(1.0, 1.5)
            ),
            blur2=BlurSpace(
                Range(0.2, 1.0), SIX_FAMILIES, 0.5, beta_generalized=Range(0.5, 2.0), beta_plateau=Range(1.0, 1.5)
            ),
        ),
    )
}


def get_space(name: str) -> Space:
    """The space of that name. Raises `UsageError` for an unknown one."""
    if name not in SPACES:
        raise UsageError(f"unknown space {name!r}: choose one of {', '.join(SPACES)}")
    return SPACES[name]
