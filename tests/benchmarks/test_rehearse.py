"""``python -m benchmarks rehearse``: the smallest of it; all of it takes half an hour."""

from typer.testing import CliRunner

from benchmarks.cli import app
from benchmarks.data.names import open_data
from benchmarks.rehearse import make_imagenet, make_voc


def test_the_smallest(tmp_path):
    """Table 5 on a narrow vision transformer, from folders of the real layout to figures."""
    given = ["rehearse", "--small", "--config", "table5", "--output", str(tmp_path)]
    result = CliRunner(env={"COLUMNS": "400"}).invoke(app, given)
    assert result.exit_code == 0, result.output
    assert "table5: 12 shards, tables, figures ['08', '13', '14'] in" in result.output
    reduced = "{'samples': 4, 'first': 2, 'block': 2, 'batch_size': 2, 'steps': 2}"
    assert f"reduced: {reduced}, one CPU" in result.output
    assert "| absLRP " in (tmp_path / "results" / "table5" / "tables.md").read_text()
    # The head tells the images apart, or no mosaic could be made.
    assert "nan" not in (tmp_path / "results" / "table5" / "tables.csv").read_text().lower()


def test_layouts(tmp_path):
    make_imagenet(tmp_path / "imagenet")
    make_voc(tmp_path)
    images, voc = open_data(f"imagenet:{tmp_path / 'imagenet'}"), open_data(f"voc:{tmp_path}")
    assert len(images) == len(voc) == 4
    assert images.labels.tolist() == [0, 100, 200, 300]
    assert [len(some) for some in voc.classes] == [2, 2, 2, 2]
