"""The trainer: learns from shards. Knows nothing of how they were made, except through the manifest."""
