"""Figure 9's rendering: colours, escaping, pieces of words, PNG."""

import html.parser

import numpy as np
import pytest

from abslrp.text import TextRelevance, to_figure, to_html, to_png
from abslrp.text.result import BLUE, RED, color
from abslrp.text.tokens import bare


def result(tokens, relevance, special=None, **options):
    special = np.zeros(len(tokens), bool) if special is None else np.array(special)
    return TextRelevance(
        tuple(tokens), np.array(relevance, float), special, 1, np.array([0.0, 1.0]), **options
    )


REVIEW = result(
    ["[CLS]", "a", "<b>", "&", "dull"], [9.0, 0.0, 0.5, -0.25, -1.0], [True] + [False] * 4
)


class Spans(html.parser.HTMLParser):
    """Texts and backgrounds of the spans, and whether every tag is closed."""

    def __init__(self, page):
        super().__init__()
        self.open, self.found = [], []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] == "span":
            style = self.open[-1][1]["style"]
            self.found.append((data, style.split("rgb(")[1].split(")")[0], style))


def rgb(values):
    return ",".join(map(str, values))


class TestColors:
    def test_red_speaks_for_and_blue_against(self):
        assert color(1) == RED
        assert color(-1) == BLUE
        assert RED[0] > RED[2]
        assert BLUE[2] > BLUE[0]
        assert color(0.5)[1] > color(1)[1]

    def test_scale_is_the_largest_of_the_texts_own_tokens(self):
        assert REVIEW.intensities == [1, 0, 0.5, -0.25, -1]

    @pytest.mark.parametrize("values", [[0.0, 0.0], [np.nan, 0.0], [np.inf, 0.0]])
    def test_nothing_to_scale_by(self, values):
        assert result(["a", "b"], values).intensities == [0, 0]

    def test_only_special_tokens(self):
        assert result(["[CLS]"], [2.0], [True]).intensities == [1]


class TestHtml:
    def test_tokens_are_escaped_and_coloured(self):
        spans = Spans(to_html(REVIEW)).found
        assert [(text, back) for text, back, _ in spans] == [
            ("[CLS]", rgb(RED)),
            ("a", "255,255,255"),
            ("<b>", rgb(color(0.5))),
            ("&", rgb(color(-0.25))),
            ("dull", rgb(BLUE)),
        ]
        assert "dashed" in spans[0][2]
        assert "dashed" not in spans[1][2]

    def test_without_special_tokens_and_captions(self):
        page = to_html([REVIEW, REVIEW], special=False, captions=False)
        assert "[CLS]" not in page
        assert "class 1" not in page
        assert page.count("<p") == 2

    def test_a_notebook_shows_a_result(self):
        assert REVIEW._repr_html_() == to_html(REVIEW)

    def test_caption(self):
        assert "good (73.1%)" in to_html(result(["a"], [1.0], label="good"))

    def test_pieces_of_a_word_stand_together(self):
        pieces = (("grip", True), ("ping", False), ("film", True))
        page = to_html(result(["grip", "##ping", "film"], [1.0, 1.0, 1.0], pieces=pieces))
        assert "grip</span><span" in page
        assert "ping</span> <span" in page

    def test_another_object(self):
        with pytest.raises(ValueError, match="results: expected TextRelevance at position 1"):
            to_html([REVIEW, 3])


class TestPicture:
    def test_boxes_have_the_tokens_colours(self):
        figure = to_figure(REVIEW)
        boxes = figure.artists
        assert len(boxes) == 5
        np.testing.assert_allclose(boxes[0].get_facecolor()[:3], np.array(RED) / 255)
        np.testing.assert_allclose(boxes[-1].get_facecolor()[:3], np.array(BLUE) / 255)
        assert [text.get_text() for text in figure.texts][1:] == list(REVIEW.tokens)

    def test_lines_wrap_inside_the_figure(self):
        long = result(["word"] * 80, np.linspace(-1, 1, 80))
        figure = to_figure(long, width=3, captions=False)
        whole = figure.transFigure.inverted()
        boxes = [whole.transform_bbox(one.get_window_extent()) for one in figure.artists]
        corners = [(box.x0, box.x1, box.y0) for box in boxes]
        assert min(left for left, _, _ in corners) > 0
        assert max(right for _, right, _ in corners) < 1
        assert min(low for _, _, low in corners) > 0
        assert len({low for _, _, low in corners}) > 4
        assert figure.get_figheight() > to_figure(long, width=9, captions=False).get_figheight()

    def test_a_notebook_shows_it(self):
        """IPython draws no figure without axes or lines."""
        assert to_figure(REVIEW).axes

    def test_text_is_no_formula(self, tmp_path):
        to_png(result(["$", "\\frac", "$"], [1.0, -1.0, 0.0]), tmp_path / "one.png")

    def test_png(self, tmp_path):
        import matplotlib.image

        to_png([REVIEW, REVIEW], tmp_path / "two.png", dpi=100, width=4)
        picture = matplotlib.image.imread(tmp_path / "two.png")[..., :3]
        assert picture.shape[1] == 400
        near = np.abs(picture - np.array(RED) / 255).max(-1) < 0.01
        assert near.sum() > 50

    def test_sizes(self):
        with pytest.raises(ValueError, match="width, fontsize"):
            to_figure(REVIEW, width=0)


def test_marks_of_words():
    assert [bare(token) for token in ("##a", "▁a", "Ġa", "▁", "a")] == ["a", "a", "a", "▁", "a"]
