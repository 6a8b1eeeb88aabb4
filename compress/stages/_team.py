"""One training step over several processes, equal to that of a single one over the same batch, to float rounding.

Each process sends its share of the images through the network. Batch normalisation takes the statistics of the whole
batch (``torch.nn.SyncBatchNorm`` does so on GPUs alone), and every process computes the loss of the whole batch, so
that losses which compare images with one another see all pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from compress.system import processes


@dataclass(frozen=True)
class Team:
    """The processes that train together.

    Attributes:
        number: number of this process, from 0.
        count: number of processes.
    """

    number: int = 0
    count: int = 1

    def share(self, rows: torch.Tensor) -> torch.Tensor:
        """This process's part of a batch whose size ``count`` divides."""
        return rows if self.count == 1 else rows.chunk(self.count)[self.number]

    def gathered(self, rows: torch.Tensor) -> torch.Tensor:
        """The whole batch, from every process's part; gradients go back to the process whose rows they are."""
        return rows if self.count == 1 or not rows.numel() else _Gather.apply(rows.contiguous(), self)  # type: ignore[no-any-return]

    def call(self, task: Any) -> None:
        """Let the waiting processes (``pipeline.assist``) begin ``task``, which the first process begins now."""
        if self.count > 1 and self.number == 0:
            processes.broadcast(task)

    def firsts(self, value: Any) -> Any:
        """The first process's value."""
        return processes.broadcast(value) if self.count > 1 else value

    def fabric_options(self, classifies: bool) -> dict[str, Any]:
        """Options of Lightning Fabric.

        Args:
            classifies: every trained weight has a gradient, the classifier's too.
        """
        if self.count == 1:
            return {"devices": 1}
        from lightning_fabric.strategies.ddp import DDPStrategy

        here = processes.count_here()
        strategy = DDPStrategy(find_unused_parameters=not classifies)
        return {"devices": here, "num_nodes": self.count // here, "strategy": strategy}

    @contextmanager
    def synchronised(self, network: nn.Module) -> Iterator[None]:
        """Within the block, batch normalisation in training mode takes the statistics of all processes."""
        layers: list[Any] = [
            module for module in network.modules() if type(module) is nn.BatchNorm2d and self.count > 1
        ]
        for layer in layers:
            layer.__class__ = _SynchronisedBatchNorm
            layer.team = self
        try:
            yield
        finally:
            for layer in layers:
                layer.__class__ = nn.BatchNorm2d
                del layer.team


def all_processes() -> Team:
    return Team(processes.number(), processes.count())


class _Gather(torch.autograd.Function):
    """Every process computes the same loss from the same rows, so that the sum of their gradients is ``count`` times
    the loss's; DDP's mean over the processes divides it by ``count`` again.
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, team: Team) -> torch.Tensor:
        ctx.team = team
        parts = [torch.empty_like(rows) for _ in range(team.count)]
        distributed.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return ctx.team.share(total), None


class _SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over all processes, with the parameters, buffers and options of the layer it replaces."""

    team: Team

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        own = torch.stack(torch.var_mean(values, (0, 2, 3), correction=0))
        variances, means = self.team.gathered(own[None]).unbind(1)
        mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1] * self.team.count)
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        shift = -mean * scale if not self.affine else self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], x, scale[:, None, None]).to(x.dtype)

    def _remember(self, mean: torch.Tensor, variance: torch.Tensor, values: int) -> None:
        """Update the running statistics; the running variance is the unbiased one."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        newest = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, newest)
        self.running_var.lerp_(variance * values / (values - 1), newest)
