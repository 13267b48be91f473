"""The generator: photographs -> pairs -> tar files and a manifest. Knows nothing of training."""
