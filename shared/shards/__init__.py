"""Datasets on disk: the shard format, manifests, reading rows, the cache of remote shards."""
