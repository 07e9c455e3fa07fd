"""Tests of the rule sets beside absLRP, and of the Zennit composite."""
