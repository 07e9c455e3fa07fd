"""What a call of a metric does: checks, trajectories and their cache, explaining, scoring."""
