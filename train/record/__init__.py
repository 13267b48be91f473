"""What a run writes of itself, for its continuation, for other runs, for programs and for people."""
