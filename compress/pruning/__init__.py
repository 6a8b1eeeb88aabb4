"""Structured pruning: which channels go together, which matter least, and the network without them.

tracing (by the rules of propagation) -> channels -> bundles (by importance) -> plan -> surgery; ``shapes`` describes
what is left, to build it again.
"""
