"""Scanned digits and three small trained networks, which come with the package."""
