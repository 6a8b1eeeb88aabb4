"""Layers that several networks share, and that pruning, losses and exporters know by their class."""
