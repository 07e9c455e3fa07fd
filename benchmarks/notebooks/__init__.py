"""Notebooks that show the packages at work, stored with outputs; :mod:`.execute` runs them."""
