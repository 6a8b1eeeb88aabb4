"""A network with its weights: how it starts, how it is saved, and what it computes."""
