"""A page about a run: tables, curves and crops of its results."""
