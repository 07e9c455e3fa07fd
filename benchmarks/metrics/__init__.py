"""Metrics by name, as a run calls them block by block."""
