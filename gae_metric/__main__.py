"""``python -m gae_metric`` is ``gae-metric``."""

from gae_metric.commands.cli import app

if __name__ == "__main__":
    app(prog_name="gae-metric")
