"""Measurements beside others and over hours; run from a checkout with the bench extra."""
