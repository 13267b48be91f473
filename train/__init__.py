"""The trainer: learns from shards. Knows nothing of how they were made, except through the manifest."""

import os

# Read when PyTorch is loaded: its CPU threads wait for each other for a moment instead of milliseconds of busy waiting.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
