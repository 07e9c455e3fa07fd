"""One file for each question that was asked beside the tables."""
