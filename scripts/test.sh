#!/usr/bin/env bash
# Set up and run the tests: bash scripts/test.sh [pytest options]; --slow adds the long ones.
set -euo pipefail
source "$(dirname "$0")/setup.sh"
exec python -m pytest --numprocesses "$(nproc)" "$@"
