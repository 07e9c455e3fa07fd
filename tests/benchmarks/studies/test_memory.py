"""The study of memory: its images, and what it prints."""

import re

import torch

from benchmarks.studies import memory


def test_images_are_made_from_their_index():
    images = memory.Made(3, side=8)
    first, again = images[1], images[1]
    assert first[0].equal(again[0])
    assert first[1] == again[1]
    assert not first[0].equal(images[2][0])
    assert first[0].shape == (3, 8, 8)


def test_scores_and_memory_are_printed(capsys):
    with torch.random.fork_rng():
        memory.main(5)
    found = re.search(r"5 of 5 images scored in \d+ s; at most (\d+) MiB", capsys.readouterr().out)
    assert found
    assert int(found[1]) > 100
