"""The second-order degradation model: ranges (`space`), drawn numbers (`plan`), and what executes them (`cpu`)."""
