"""The trainer: learns from shards. Knows nothing of how they were made, except through the manifest."""

import os
import sys

from shared.errors import quiet_interrupt

if sys.argv[:1] == ["-m"]:  # `python -m` is looking for the module of a command
    quiet_interrupt()

# Read when PyTorch is loaded: its CPU threads wait for each other for a moment instead of milliseconds of busy waiting.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
# Read when OpenCV is loaded: our own messages name the file that cannot be decoded, OpenCV's do not.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
