"""Table 1: networks trained with equal volumes against the same networks with rebalancing, on DIV2K4Level.

Which systems and sets stand in which of Tables 1 to 3 is a reading: see docs/results.md. At the small scale the
networks are tiny variants; swinir and hat take about ten times as long as msrresnet there, and are left out unless
--networks names them.
"""

import sys
from dataclasses import dataclass, replace

from scripts.reproduce.comparison import REBALANCE, UNIFORM, Arm
from scripts.reproduce.lab import Lab, LabSettings
from scripts.reproduce.table import write_tables
from shared.config import option, parse
from shared.errors import run_command


@dataclass(frozen=True)
class NetworkSettings(LabSettings):
    """What Table 1 can be asked for."""

    networks: list[str] | None = option(None, "msrresnet, rrdbnet, swinir, hat (default: those of the scale)")


def main(argv: list[str]) -> int:
    """The command. Returns the exit code."""
    settings = parse(NetworkSettings, argv, "python -m scripts.reproduce.table1", __doc__ or "")
    lab = Lab(settings, "table1")
    networks = settings.networks or lab.scale.table1
    for network in networks:
        lab.given(network)  # what is missing or unknown is said before anything is rendered
    pairs = [arms_of(lab, network) for network in networks]
    write_tables(lab, "table1", pairs, lab.whole_images("DIV2K4Level") | lab.further_testsets())
    return 0


def arms_of(lab: Lab, network: str) -> tuple[Arm, Arm]:
    """A network with equal volumes, and with rebalancing."""
    plain, ours = UNIFORM, REBALANCE
    if network != lab.scale.network:
        plain, ours = (replace(arm, name=f"{network}-{arm.name}", network=network) for arm in (plain, ours))
    return replace(plain, label=f"{network}, plain"), replace(ours, label=f"{network}, ours")


if __name__ == "__main__":
    sys.exit(run_command(main))
