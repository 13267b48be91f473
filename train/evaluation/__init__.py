"""What `train.evaluate`, `train.compare` and `train.upscale` work with: test sets, systems, tiles, tables."""
