"""The project's experiments and measurements; not part of the installed package."""
