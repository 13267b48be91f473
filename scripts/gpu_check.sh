#!/usr/bin/env bash
# All that only a GPU can show, as one table in under 10 minutes: bash scripts/gpu_check.sh [options of scripts/gpu_check.py]
# It runs on the Python that is active (PYTHON chooses another one) with the torch that this has, and installs nothing
# into it. Packages that are missing there, without a way to the network, come from a folder of wheels made elsewhere:
#   pip download --dest wheels --only-binary :all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#       --platform manylinux2014_x86_64 --no-deps PACKAGE ...
#   WHEELS=wheels bash scripts/gpu_check.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="${PYTHON:-python3}" packages="$PWD/runs/gpu_check/packages"

case " $* " in *"--device cpu"* | *"--device=cpu"* | *"--help"*) ;; *)
    if ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
        echo "error: torch sees no GPU here, or there is no torch: nothing was checked (--device cpu tries this script out)" >&2
        exit 1
    fi ;;
esac
if [ -n "${WHEELS:-}" ]; then
    rm -rf "$packages"
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --target "$packages" "$WHEELS"/*.whl
fi
export PYTHONPATH="$PWD:$packages"
"$python" - <<'PYTHON'
import importlib.util, sys

# What rendering, the torch backend, the trainer and their tests import, by the package that brings it.
NEEDED = {
    "accelerate": "accelerate", "cv2": "opencv-python-headless", "docstring_parser": "docstring-parser",
    "fsspec": "fsspec", "imageio": "imageio", "isal": "isal", "jsonargparse": "jsonargparse", "lazy_loader": "lazy-loader",
    "llvmlite": "llvmlite", "numba": "numba", "numpy": "numpy", "packaging": "packaging", "PIL": "pillow",
    "pytest": "pytest", "safetensors": "safetensors", "scipy": "scipy", "skimage": "scikit-image",
    "threadpoolctl": "threadpoolctl", "tifffile": "tifffile", "torch": "torch", "torchvision": "torchvision", "tqdm": "tqdm",
    "turbojpeg": "turbojpeg", "typeshed_client": "typeshed-client", "yaml": "pyyaml",
}
missing = [package for module, package in NEEDED.items() if importlib.util.find_spec(module) is None]
if missing:
    sys.exit(f"error: {sys.executable} lacks {' '.join(missing)}: install them, or name a folder of their wheels in WHEELS")

import turbojpeg

if not hasattr(turbojpeg, "decompress"):
    sys.exit(f"error: {turbojpeg.__file__} is PyTurboJPEG's, another package: put turbojpeg in its place")
PYTHON
exec "$python" scripts/gpu_check.py "$@"
