"""The second-order degradation model: ranges (`space`), drawn numbers (`plan`), what executes them (`cpu`, `gpu`)."""
