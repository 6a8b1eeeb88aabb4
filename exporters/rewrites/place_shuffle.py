"""Fold a channel shuffle into the convolution before or after it, or move it to where it is cheapest.

A permutation of channels between two convolutions costs nothing if it is applied to the first one's rows or the second
one's columns; a grouped convolution must be made dense for that (zeros between its groups). Activations do not depend
on the order, and depthwise convolutions can be reordered, so a shuffle can also be moved behind a stride, where the map
is smaller.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from exporters._costs import Costs
from exporters.rewrites._channels import (
    change_convolution,
    is_foldable,
    keeps_channels,
    move_rate,
    permutation,
    table_groups,
    takes_any_order,
    values,
)
from exporters.rewrites._choice import Form, Place
from exporters.rewrites._convolutions import allowed_groups, with_groups, with_inputs, with_outputs
from exporters.rewrites._graph import add_layer, convolution, replace


class Reorder(nn.Module):
    """forward(x [N, C, H, W]) -> output channel i is input channel ``order[i]``; tensors have at most rank 4.

    A transposed table of groups is computed in the runtime's order of axes; any other order is an index operation.
    """

    order: torch.Tensor

    def __init__(self, order: torch.Tensor, channels_last: bool) -> None:
        super().__init__()
        self.groups = table_groups(order)
        self.channels_last = channels_last
        if not self.groups:
            self.register_buffer("order", order)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.groups:
            return x.index_select(1, self.order)
        channels, height, width = x.shape[1:]
        if self.channels_last:
            table = x.permute(0, 2, 3, 1).reshape(-1, height * width, self.groups, channels // self.groups)
            return table.transpose(2, 3).reshape(-1, height, width, channels).permute(0, 3, 1, 2)
        table = x.reshape(-1, self.groups, channels // self.groups, height * width)
        return table.transpose(1, 2).reshape(-1, channels, height, width)


class PlaceShuffle:
    """Applies to permutations of channels that are written as reshapes, transpositions or an index."""

    def __init__(self, costs: Costs) -> None:
        self.costs = costs

    def places(self, network: fx.GraphModule) -> list[Place]:
        found = []
        for node in network.graph.nodes:
            chain = permutation(network, node)
            if chain is not None:
                found.append(_Shuffle(network, self.costs, *chain).place())
        return found


class _Shuffle:
    """One permutation with the convolutions before and after it."""

    def __init__(
        self, network: fx.GraphModule, costs: Costs, source: fx.Node, end: fx.Node, order: torch.Tensor
    ) -> None:
        self.network, self.costs, self.source, self.end, self.order = network, costs, source, end, order
        self.first = self._before(source)
        self.passed, self.second = self._after(end)

    def place(self) -> Place:
        # The first of the smallest maps on the way.
        wait = min(range(len(self.passed) + 1), key=lambda n: values([self.end, *self.passed][n]))
        moved = values([self.end, *self.passed][wait])
        stays = self._cost(self.first) + self._cost(self.second)
        forms = [Form("move", stays + move_rate(self.order) * self.costs.move(moved), 0, lambda: self._move(wait))]
        for name, conv, fold in (
            ("into first", self.first, self._into_first),
            ("into second", self.second, self._into_second),
        ):
            if conv is not None:
                dense = stays - self._cost(conv) + self._cost(conv, groups=1)
                forms.append(Form(name, dense, _added(self.network, conv), fold))
        ends = [node for node in (self.first, self.source, self.end, self.second) if node is not None]
        return Place(f"shuffle:{self.end.name}", tuple(forms), (*ends, *self.passed))

    def _before(self, node: fx.Node) -> fx.Node | None:
        """Find the pointwise convolution whose output reaches the shuffle unmixed and is read by nothing else."""
        while len(node.users) == 1:
            if is_foldable(self.network, node):
                return node
            if not keeps_channels(self.network, node):
                return None
            node = node.all_input_nodes[0]
        return None

    def _after(self, node: fx.Node) -> tuple[list[fx.Node], fx.Node | None]:
        """The nodes past which the shuffle can be moved, and the convolution after them."""
        passed: list[fx.Node] = []
        while len(node.users) == 1:
            (reader,) = node.users
            if is_foldable(self.network, reader):
                return passed, reader
            if not (keeps_channels(self.network, reader) or takes_any_order(self.network, reader)):
                break
            passed.append(reader)
            node = reader
        return passed, None

    def _cost(self, node: fx.Node | None, groups: int | None = None) -> float:
        if node is None:
            return 0.0
        conv = convolution(self.network, node)
        pixels = values(node) // conv.out_channels

        def cost(count: int) -> float:
            return self.costs.convolution(pixels, count, conv.in_channels // count, conv.out_channels // count)

        allowed = allowed_groups(conv, self.costs.group_multiple)
        if groups is None and conv.groups not in allowed:  # fewer groups will replace it
            return min(map(cost, allowed))
        return cost(groups or conv.groups)

    def _remove(self) -> None:
        self.end.replace_all_uses_with(self.source)
        self.network.graph.eliminate_dead_code()

    def _into_first(self) -> None:
        assert self.first is not None
        change_convolution(self.network, self.first, lambda conv: with_outputs(with_groups(conv, 1), self.order))
        self._remove()

    def _into_second(self) -> None:
        assert self.second is not None
        self._pass(self.passed)
        change_convolution(
            self.network, self.second, lambda conv: with_inputs(with_groups(conv, 1), self.order.argsort())
        )
        self._remove()

    def _move(self, wait: int) -> None:
        self._pass(self.passed[:wait])
        reorder = Reorder(self.order, self.costs.channels_last)
        if wait == 0:
            replace(self.network, self.end, lambda: add_layer(self.network, "reorder", reorder, self.source))
            return
        last = self.passed[wait - 1]
        readers = list(last.users)
        with self.network.graph.inserting_after(last):
            moved = add_layer(self.network, "reorder", reorder, last)
        for reader in readers:
            reader.replace_input_with(last, moved)
        self._remove()

    def _pass(self, nodes: list[fx.Node]) -> None:
        """Reorder depthwise convolutions past which the shuffle is moved: they now get channels in the old order."""
        for node in nodes:
            if takes_any_order(self.network, node):
                change_convolution(self.network, node, lambda conv: with_outputs(conv, self.order.argsort()))


def _added(network: fx.GraphModule, node: fx.Node) -> int:
    conv = convolution(network, node)
    return conv.weight.numel() * conv.weight.element_size() * (conv.groups - 1)
