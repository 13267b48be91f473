"""The generator: HR images -> pairs -> tar files and a manifest. Knows nothing of training."""

import os
import sys

from shared.errors import quiet_interrupt

if sys.argv[:1] == ["-m"]:  # `python -m` is looking for the module of a command
    quiet_interrupt()

# Read when OpenCV is loaded: our own messages name the file that cannot be decoded, OpenCV's do not.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
