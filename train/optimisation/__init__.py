"""What an optimiser step changes and by which losses: the learner, the step, the stages."""
