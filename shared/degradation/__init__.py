"""The second-order degradation model: ranges (`space`), one sample's numbers (`plan`), and what executes them (`cpu`)."""
