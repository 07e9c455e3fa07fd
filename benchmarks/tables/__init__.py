"""A run's tables beside the paper's, and what a run costs."""
