"""What a run would cost for more images."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.config.runs import parse
from benchmarks.runner.run import execute
from benchmarks.tables.cost import costs


def shard(method, metric, start, stop, seconds, device="cpu"):
    return {
        "model": "digits:vgg",
        "method": method,
        "start": start,
        "stop": stop,
        "metric": metric,
        "seconds": seconds,
        "device": device,
    }


def test_shards_of_different_sizes_and_metrics_add_up():
    seconds = pd.DataFrame(
        [
            shard("", "targets", 0, 6, 100.0),
            shard("absLRP", "GAE", 0, 4, 6.0, "cuda:0"),
            shard("absLRP", "Focus", 0, 4, 2.0, "cuda:0"),
            shard("absLRP", "GAE", 4, 6, 4.0, "cuda:1"),
            shard("Saliency", "GAE", 0, 4, 2.0),
        ]
    )
    table = costs(seconds, images=3600).set_index("method")
    assert list(table.index) == ["absLRP", "Saliency"]
    assert table.loc["absLRP", "device"] == "cuda"
    assert table.loc["absLRP", "per_image"] == pytest.approx(12 / 6)
    assert table.loc["absLRP", "hours"] == pytest.approx(2)
    assert table.loc["Saliency", "per_image"] == pytest.approx(0.5)


def test_command_on_a_run(tmp_path):
    output = str(tmp_path / "out")
    execute(
        parse(
            {
                "models": "digits:vgg",
                "methods": ["Random", "Constant"],
                "metrics": "Focus",
                "samples": 4,
                "output": output,
            }
        ),
        quiet=True,
    )
    result = CliRunner().invoke(app, ["cost", output, "--images", "1000", "--workers", "4"])
    assert result.exit_code == 0, result.output
    rows = [line.split(" | ") for line in result.output.splitlines() if "digits:vgg" in line]
    assert [row[2].strip() for row in rows] == ["Random", "Constant"]
    total = sum(float(row[4].rstrip(" |")) for row in rows)
    words = next(line for line in result.output.splitlines() if line.startswith("1000 images"))
    one, four = float(words.split()[2]), float(words.split()[7])
    assert one == pytest.approx(total, rel=0.02)
    assert four == pytest.approx(one / 4, rel=0.02)


def test_no_results(tmp_path):
    result = CliRunner().invoke(app, ["cost", str(tmp_path)])
    assert result.exit_code == 2
    assert "there is no run in" in result.output
