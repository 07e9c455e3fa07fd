"""Relevance of tokens and words for text classifiers.

>>> from abslrp import text
>>> text.explain.__name__, text.TokenRelevance.__name__
('explain', 'TokenRelevance')
"""

from abslrp.text.classifier import EncoderClassifier as EncoderClassifier
from abslrp.text.classifier import load_classifier as load_classifier
from abslrp.text.classifier import packaged_minilm as packaged_minilm
from abslrp.text.embedded import Embedded as Embedded
from abslrp.text.embedded import OfEmbeddings as OfEmbeddings
from abslrp.text.embedded import embed as embed
from abslrp.text.explain import explain as explain
from abslrp.text.figure import to_figure as to_figure
from abslrp.text.figure import to_png as to_png
from abslrp.text.propagate import TokenRelevance as TokenRelevance
from abslrp.text.propagate import token_relevance as token_relevance
from abslrp.text.result import TextRelevance as TextRelevance
from abslrp.text.result import to_html as to_html
