"""What the generator and the trainer both need: degradation, shard format, metrics, configuration."""
