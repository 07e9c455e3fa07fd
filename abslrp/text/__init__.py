"""Relevance of tokens and words for text classifiers.

>>> from abslrp import text
>>> sorted(text.__all__)[:3]
['Embedded', 'EncoderClassifier', 'OfEmbeddings']
"""

from abslrp.text.classifier import EncoderClassifier, load_classifier, packaged_minilm
from abslrp.text.embedded import Embedded, OfEmbeddings, embed
from abslrp.text.explain import explain
from abslrp.text.figure import to_figure, to_png
from abslrp.text.propagate import TokenRelevance, token_relevance
from abslrp.text.result import TextRelevance, to_html

__all__ = [
    "Embedded",
    "EncoderClassifier",
    "OfEmbeddings",
    "TextRelevance",
    "TokenRelevance",
    "embed",
    "explain",
    "load_classifier",
    "packaged_minilm",
    "to_figure",
    "to_html",
    "to_png",
    "token_relevance",
]
