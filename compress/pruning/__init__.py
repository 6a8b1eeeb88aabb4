"""Structured pruning: which channels must be removed together, which matter least, and the network without them.

tracing (by the rules of propagation) -> channels -> bundles (by importance) -> plan -> surgery; ``shapes`` describes
the pruned layers, so that the network can be built again.
"""
