"""Sanity checks of GAE itself: what maps that must score badly score, and how scores behave."""
