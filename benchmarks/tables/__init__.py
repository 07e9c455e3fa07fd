"""A run's tables beside the paper's."""
