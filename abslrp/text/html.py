"""Figure 9 as HTML."""

from abslrp.text.result import to_html

__all__ = ["to_html"]
