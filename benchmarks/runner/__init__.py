"""Carry a run out: its blocks and shards, the engines and workers, and the store of results."""
