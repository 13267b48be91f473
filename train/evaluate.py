"""Evaluate a network, or the images that another program made, on test sets, beside bicubic upscaling.

A test set is a dataset of `realsr render`, a set of `realsr testset`, RealSR V3, DRealSR, a pair of folders
(LR_FOLDER,HR_FOLDER), or a folder of LR images, which gives outputs but no measures. Running the same command again
goes on where it stopped.

Examples:
realsr evaluate --checkpoint runs/default --testset RealSR=RealSR_V3 --out ev/ours
realsr evaluate --checkpoint bicubic --testset DIV2K4Level=testsets/div2k4level --out ev/bicubic
realsr evaluate --results results/other --testset Own=LR_FOLDER,HR_FOLDER --out ev/other
"""

import sys
from importlib import import_module

from shared.command import spelling
from shared.config import parse
from shared.errors import run_command
from train.evaluation.settings import EvaluateSettings
from train.evaluation.testsets import open_testsets


def main(argv: list[str]) -> int:
    """The command; see `EvaluateSettings`. Returns the exit code."""
    settings = parse(EvaluateSettings, argv, spelling("evaluate"), __doc__ or "")
    testsets = open_testsets(settings.testset or [])
    return import_module("train.evaluation.evaluate_sets").evaluate_sets(settings, testsets)


if __name__ == "__main__":
    sys.exit(run_command(main))
