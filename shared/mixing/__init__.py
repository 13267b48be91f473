"""Exact mixtures: from weights to quotas, to the order of samples, to batches."""
