"""From a tape to what is computed: joins, what cancels, where totals are restored.

Knows factors and the four forms of an account; names no operator and no equation.
"""

from abslrp.plan.accounts import Account, Custom, Diagonal, Product, Routing, Split, Term, passing

__all__ = ["Account", "Custom", "Diagonal", "Product", "Routing", "Split", "Term", "passing"]
