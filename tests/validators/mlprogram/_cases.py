"""Every operation at least once: how to write it in MIL, and what it gives, computed by NumPy in float64.

A case takes the scaled pixels [1, 4, 6, 10]. ``exact`` ones give something else when an input moves by a rounding
error, so a random graph applies them to nothing but the pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.mil import types

from tests.validators.mlprogram import _slow

_random = np.random.default_rng(7)


def constant(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return _random.uniform(low, high, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """Attributes: operation: MIL's name; target: the opset that has this version of it."""

    operation: str
    build: Callable[[Any], Any]
    expect: Callable[[np.ndarray], Any]
    exact: bool = False
    target: ct.target = ct.target.iOS18
    label: str = ""

    def __str__(self) -> str:
        return f"{self.operation}{' ' if self.label else ''}{self.label}"


CASES: list[Case] = []


def case(operation: str, build: Callable[[Any], Any], expect: Callable[[np.ndarray], Any], label: str = "") -> None:
    CASES.append(Case(operation, build, expect, label=label))


def exact(operation: str, build: Callable[[Any], Any], expect: Callable[[np.ndarray], Any], label: str = "") -> None:
    CASES.append(Case(operation, build, expect, exact=True, label=label))


def f(value: float) -> np.float32:
    return np.float32(value)


# --------------------------------------------------------------------------------------------------- elementwise

for _name, _numpy in {
    "abs": np.abs,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "exp2": np.exp2,
    "identity": lambda a: a,
    "sin": np.sin,
    "sinh": np.sinh,
    "square": np.square,
    "tan": np.tan,
    "tanh": np.tanh,
    "atan": np.arctan,
}.items():
    case(_name, lambda x, n=_name: getattr(mb, n)(x=x), _numpy)
for _name, _numpy in {"acos": np.arccos, "asin": np.arcsin, "atanh": np.arctanh}.items():
    case(_name, lambda x, n=_name: getattr(mb, n)(x=mb.mul(x=x, y=f(0.5))), lambda a, g=_numpy: g(a / 2))
for _name, _numpy in {"ceil": np.ceil, "floor": np.floor, "round": np.round, "sign": np.sign}.items():
    exact(_name, lambda x, n=_name: getattr(mb, n)(x=mb.mul(x=x, y=f(3.5))), lambda a, g=_numpy: g(a * 3.5))
case("erf", lambda x: mb.erf(x=x), np.vectorize(math.erf))
case("sqrt", lambda x: mb.sqrt(x=mb.abs(x=mb.add(x=x, y=f(3)))), lambda a: np.sqrt(np.abs(a + 3)))
case("log", lambda x: mb.log(x=mb.square(x=x), epsilon=f(0.3)), lambda a: np.log(a**2 + f(0.3)), "epsilon")
case("log", lambda x: mb.log(x=mb.add(x=mb.square(x=x), y=f(1))), lambda a: np.log(a**2 + 1), "default")
case("rsqrt", lambda x: mb.rsqrt(x=mb.square(x=x), epsilon=f(0.2)), lambda a: (a**2 + f(0.2)) ** -0.5)
case("inverse", lambda x: mb.inverse(x=mb.square(x=x), epsilon=f(0.2)), lambda a: 1 / (a**2 + f(0.2)), "epsilon")
case("inverse", lambda x: mb.inverse(x=mb.fill(shape=[2], value=f(1e-4))), lambda a: [5e3, 5e3], "default")
case("clip", lambda x: mb.clip(x=x, alpha=f(-0.2), beta=f(0.6)), lambda a: np.minimum(np.maximum(a, -0.2), 0.6))
case("threshold", lambda x: mb.threshold(x=x, alpha=f(0.1)), lambda a: np.maximum(a, 0.1))

_other = constant(4, 1, 10, low=0.5, high=2)
for _name, _numpy in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
}.items():
    case(_name, lambda x, n=_name: getattr(mb, n)(x=x, y=_other), lambda a, g=_numpy: g(a, _other))
case("pow", lambda x: mb.pow(x=mb.add(x=mb.square(x=x), y=f(0.1)), y=_other), lambda a: (a**2 + f(0.1)) ** _other)
exact("mod", lambda x: mb.mod(x=x, y=f(0.75)), lambda a: np.mod(a, 0.75))
exact("floor_div", lambda x: mb.floor_div(x=x, y=f(0.75)), lambda a: np.floor(a / 0.75))
for _name, _numpy in {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}.items():
    exact(
        _name,
        lambda x, n=_name: getattr(mb, n)(x=x, y=mb.reverse(x=x, axes=[3])),
        lambda a, g=_numpy: g(a, a[..., ::-1]),
    )
for _name, _numpy in {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}.items():
    exact(
        _name,
        lambda x, n=_name: getattr(mb, n)(x=mb.greater(x=x, y=f(0.3)), y=mb.less(x=x, y=f(0.6))),
        lambda a, g=_numpy: g(a > f(0.3), a < f(0.6)),
    )
exact("logical_not", lambda x: mb.logical_not(x=mb.greater(x=x, y=f(0.3))), lambda a: a <= f(0.3))
exact("select", lambda x: mb.select(cond=mb.greater(x=x, y=f(0)), a=x, b=_full), lambda a: np.where(a > 0, a, _full))
_full = constant(1, 4, 6, 10)
exact("cast", lambda x: mb.cast(x=mb.mul(x=x, y=f(3.5)), dtype="int32"), lambda a: np.trunc(a * 3.5), "to int32")
exact("cast", lambda x: mb.cast(x=mb.clip(x=x, alpha=f(0), beta=f(1)), dtype="bool"), lambda a: a > 0, "to bool")
exact("cast", lambda x: mb.cast(x=mb.mul(x=mb.abs(x=x), y=f(99)), dtype="uint8"), lambda a: np.floor(abs(a) * 99), "u8")
case("cast", lambda x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"), lambda a: a, "to fp16 and back")

# --------------------------------------------------------------------------------------------------- activations

_channel = constant(4)
_ones = np.float32([1, 1, 1, 1])
case("relu", lambda x: mb.relu(x=x), lambda a: np.maximum(a, 0))
case("relu6", lambda x: mb.relu6(x=mb.mul(x=x, y=f(9))), lambda a: np.clip(a * 9, 0, 6))
case("leaky_relu", lambda x: mb.leaky_relu(x=x, alpha=f(0.1)), lambda a: np.where(a > 0, a, f(0.1) * a))
case("prelu", lambda x: mb.prelu(x=x, alpha=_channel), lambda a: np.where(a > 0, a, _channel[:, None, None] * a))
exact("thresholded_relu", lambda x: mb.thresholded_relu(x=x, alpha=f(0.5)), lambda a: np.where(a >= 0.5, a, 0))
case(
    "clamped_relu",
    lambda x: mb.clamped_relu(x=x, alpha=f(0.3), beta=f(0.7)),
    lambda a: np.minimum(np.where(a > 0, a, f(0.3) * a), 0.7),
)
case("elu", lambda x: mb.elu(x=x, alpha=f(0.8)), lambda a: np.where(a > 0, a, f(0.8) * (np.exp(a) - 1)))
_phi = np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))))
case("gelu", lambda x: mb.gelu(x=x), lambda a: a * _phi(a), "exact")
case(
    "gelu",
    lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
    lambda a: 0.5 * a * (1 + np.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    "tanh",
)
case("gelu", lambda x: mb.gelu(x=x, mode="SIGMOID_APPROXIMATION"), lambda a: a / (1 + np.exp(-1.702 * a)), "sigmoid")
case("silu", lambda x: mb.silu(x=x), lambda a: a / (1 + np.exp(-a)))
case("sigmoid", lambda x: mb.sigmoid(x=x), lambda a: 1 / (1 + np.exp(-a)))
case("sigmoid_hard", lambda x: mb.sigmoid_hard(x=x, alpha=f(0.9), beta=f(0.4)), lambda a: np.clip(0.9 * a + 0.4, 0, 1))
case("linear_activation", lambda x: mb.linear_activation(x=x, alpha=f(0.9), beta=f(0.4)), lambda a: 0.9 * a + 0.4)
case("scaled_tanh", lambda x: mb.scaled_tanh(x=x, alpha=f(0.9), beta=f(1.4)), lambda a: 0.9 * np.tanh(1.4 * a))
case("softplus", lambda x: mb.softplus(x=x), lambda a: np.log(1 + np.exp(a)))
case("softplus", lambda x: mb.softplus(x=mb.mul(x=x, y=f(200))), lambda a: np.logaddexp(0, 200 * a), "of large numbers")
case(
    "softplus_parametric",
    lambda x: mb.softplus_parametric(x=x, alpha=_channel, beta=_channel),
    lambda a: _channel[:, None, None] * np.log(1 + np.exp(_channel[:, None, None] * a)),
)
case("softsign", lambda x: mb.softsign(x=x), lambda a: a / (1 + np.abs(a)))
for _axis in (1, -1):
    case(
        "softmax",
        lambda x, axis=_axis: mb.softmax(x=x, axis=axis),
        lambda a, axis=_axis: np.exp(a) / np.exp(a).sum(axis, keepdims=True),
        f"axis {_axis}",
    )

# --------------------------------------------------------------------------------------------------- convolution

_kernel, _grouped, _bias = constant(5, 4, 3, 2), constant(6, 2, 2, 3), constant(6)
case("conv", lambda x: mb.conv(x=x, weight=_kernel), lambda a: _slow.conv(a, _kernel), "valid")
case(
    "conv",
    lambda x: mb.conv(x=x, weight=_grouped, bias=_bias, strides=[2, 3], pad_type="custom", pad=[1, 0, 2, 1], groups=2),
    lambda a: _slow.conv(a, _grouped, _bias, (2, 3), (1, 0, 2, 1), groups=2),
    "custom, strides, groups",
)
case(
    "conv",
    lambda x: mb.conv(x=x, weight=_kernel, pad_type="custom", pad=[2, 2, 1, 1], dilations=[2, 3]),
    lambda a: _slow.conv(a, _kernel, None, (1, 1), (2, 2, 1, 1), (2, 3)),
    "dilations",
)
# Height 6, kernel 3, stride 2: one row of padding in total; width 10, kernel 2, stride 2: none.
case(
    "conv",
    lambda x: mb.conv(x=x, weight=_kernel, strides=[2, 2], pad_type="same"),
    lambda a: _slow.conv(a, _kernel, None, (2, 2), (0, 1, 0, 0)),
    "same",
)
case(
    "conv",
    lambda x: mb.conv(x=x, weight=_kernel, strides=[2, 2], pad_type="same_lower"),
    lambda a: _slow.conv(a, _kernel, None, (2, 2), (1, 0, 0, 0)),
    "same_lower",
)
_line = constant(5, 24, 3)
case(
    "conv",
    lambda x: mb.conv(x=mb.reshape(x=x, shape=[1, 24, 10]), weight=_line, pad_type="custom", pad=[0, 1]),
    lambda a: _slow.conv(a.reshape(1, 24, 1, 10), _line[:, :, None], pads=(0, 0, 0, 1)),
    "one axis",
)
_up = constant(4, 3, 3, 2)
case(
    "conv_transpose",
    lambda x: mb.conv_transpose(x=x, weight=_up, strides=[2, 2]),
    lambda a: _slow.conv_transpose(a, _up, (2, 2)),
    "valid",
)
case(
    "conv_transpose",
    lambda x: mb.conv_transpose(
        x=x, weight=_up, bias=_bias, strides=[2, 1], groups=2, pad_type="custom", pad=[1, 0, 0, 2]
    ),
    lambda a: _slow.conv_transpose(a, _up, (2, 1), 2)[:, :, 1:, :-2] + _bias[:, None, None],
    "custom, groups",
)
# The full height is 13; "same" gives 12 and cuts the one row at the end.
case(
    "conv_transpose",
    lambda x: mb.conv_transpose(x=x, weight=_up, strides=[2, 2], pad_type="same"),
    lambda a: _slow.conv_transpose(a, _up, (2, 2))[:, :, :12],
    "same",
)
case(
    "conv_transpose",
    lambda x: mb.conv_transpose(
        x=x, weight=_up, strides=[2, 2], pad_type="custom", pad=[1, 0, 0, 0], output_shape=[1, 3, 13, 21]
    ),
    lambda a: _slow.padded(_slow.conv_transpose(a, _up, (2, 2))[:, :, 1:], (0, 1, 0, 1)),
    "output shape",
)

# ------------------------------------------------------------------------------------------------------- pooling

_mean_all = lambda window: float(np.nan_to_num(window).sum() / window.size)  # noqa: E731
_mean_real = lambda window: float(np.nanmean(window))  # noqa: E731
case(
    "max_pool",
    lambda x: mb.max_pool(x=x, kernel_sizes=[3, 2], strides=[2, 1], pad_type="custom", pad=[1, 1, 1, 0]),
    lambda a: _slow.pool(a, np.nanmax, (3, 2), (2, 1), (3, 10), (1, 1, 1, 0)),
    "custom",
)
# Height 6, kernel 3, stride 2, ceil: windows start at 0, 2 and 4, the last one being cut off.
for _name, _reduce in {"max_pool": np.nanmax, "avg_pool": _mean_all}.items():
    case(
        _name,
        lambda x, n=_name: getattr(mb, n)(x=x, kernel_sizes=[3, 2], strides=[2, 2], pad_type="valid", ceil_mode=True),
        lambda a, r=_reduce: _slow.pool(a, r, (3, 2), (2, 2), (3, 5)),
        "ceil mode",
    )
# With a row of padding on both sides and stride 3, ceil: 3 windows, of which the third starts at row 5 (of 0 ... 7).
case(
    "avg_pool",
    lambda x: mb.avg_pool(
        x=x, kernel_sizes=[4, 2], strides=[3, 2], pad_type="custom", pad=[1, 1, 0, 0], ceil_mode=True
    ),
    lambda a: _slow.pool(a, _mean_all, (4, 2), (3, 2), (3, 5), (1, 1, 0, 0)),
    "ceil mode with padding",
)
for _label, _exclude, _reduce in (("counted", False, _mean_all), ("not counted", True, _mean_real)):
    case(
        "avg_pool",
        lambda x, e=_exclude: mb.avg_pool(
            x=x, kernel_sizes=[3, 3], strides=[2, 1], pad_type="same", exclude_padding_from_average=e
        ),
        lambda a, r=_reduce: _slow.pool(a, r, (3, 3), (2, 1), (3, 10), (0, 1, 1, 1)),
        f"padding {_label}",
    )
case(
    "avg_pool",
    lambda x: mb.avg_pool(x=x, kernel_sizes=[3, 3], strides=[2, 1], pad_type="same_lower"),
    lambda a: _slow.pool(a, _mean_all, (3, 3), (2, 1), (3, 10), (1, 0, 1, 1)),
    "same_lower",
)
case(
    "l2_pool",
    lambda x: mb.l2_pool(x=x, kernel_sizes=[2, 2], strides=[2, 2], pad_type="valid"),
    lambda a: _slow.pool(a, lambda window: float(np.sqrt((window**2).sum())), (2, 2), (2, 2), (3, 5)),
)

# ------------------------------------------------------------------------------------------------- normalisation

_mean, _variance, _gamma, _beta = constant(4), constant(4, low=0.3, high=2), constant(4), constant(4)


def _column(vector: np.ndarray) -> np.ndarray:
    return vector[:, None, None].astype(np.float64)


def _standard(a: np.ndarray, axes: Any, epsilon: float) -> np.ndarray:
    return (a - a.mean(axes, keepdims=True)) / np.sqrt(a.var(axes, keepdims=True) + epsilon)


case(
    "batch_norm",
    lambda x: mb.batch_norm(x=x, mean=_mean, variance=_variance, gamma=_gamma, beta=_beta, epsilon=f(0.1)),
    lambda a: _column(_gamma) * (a - _column(_mean)) / np.sqrt(_column(_variance) + f(0.1)) + _column(_beta),
)
case(
    "batch_norm",
    lambda x: mb.batch_norm(x=x, mean=_mean, variance=np.full(4, 1e-5, np.float32)),
    lambda a: (a - _column(_mean)) / np.sqrt(2e-5),
    "default epsilon",
)
case(
    "instance_norm",
    lambda x: mb.instance_norm(x=x, gamma=_gamma, beta=_beta, epsilon=f(0.1)),
    lambda a: _column(_gamma) * _standard(a, (2, 3), f(0.1)) + _column(_beta),
)
_gamma2, _beta2 = constant(6, 10), constant(6, 10)
case(
    "layer_norm",
    lambda x: mb.layer_norm(x=x, axes=[2, 3], gamma=_gamma2, beta=_beta2, epsilon=f(0.1)),
    lambda a: _gamma2 * _standard(a, (2, 3), f(0.1)) + _beta2,
)
case("layer_norm", lambda x: mb.layer_norm(x=x, axes=[1]), lambda a: _standard(a, 1, 1e-5), "of channels")
case("l2_norm", lambda x: mb.l2_norm(x=x, epsilon=f(0.5)), lambda a: a / np.sqrt((a**2).sum() + 0.5))
case(
    "l2_norm",
    lambda x: mb.l2_norm(x=mb.mul(x=x, y=f(1e-4))),
    lambda a: 1e-4 * a / np.sqrt((1e-8 * a**2).sum() + 1e-6),
    "default epsilon",
)


def _neighbours(a: np.ndarray) -> np.ndarray:
    sums = np.zeros_like(a)
    for channel in range(4):
        for other in range(max(0, channel - 1), min(4, channel + 2)):
            sums[:, channel] += a[:, other] ** 2
    return sums


case(
    "local_response_norm",
    lambda x: mb.local_response_norm(x=x, size=3, alpha=f(0.6), beta=f(0.5), k=f(1.5)),
    lambda a: a / np.sqrt(1.5 + 0.2 * _neighbours(a)),
)

# ----------------------------------------------------------------------------------------------------- reduction

for _name, _numpy in {
    "reduce_l1_norm": lambda a, **k: np.abs(a).sum(**k),
    "reduce_l2_norm": lambda a, **k: np.sqrt((a**2).sum(**k)),
    "reduce_log_sum_exp": lambda a, **k: np.log(np.exp(a).sum(**k)),
    "reduce_max": np.max,
    "reduce_mean": np.mean,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_sum": np.sum,
    "reduce_sum_square": lambda a, **k: (a**2).sum(**k),
}.items():
    case(
        _name,
        lambda x, n=_name: getattr(mb, n)(x=x, axes=[1, -1], keep_dims=True),
        lambda a, g=_numpy: g(a, axis=(1, 3), keepdims=True),
        "of two axes",
    )
    if _name != "reduce_prod":  # 240 factors below 1 give 0
        case(_name, lambda x, n=_name: getattr(mb, n)(x=x), lambda a, g=_numpy: g(a, axis=None), "of all")
case(
    "reduce_log_sum",
    lambda x: mb.reduce_log_sum(x=mb.square(x=x), axes=[2]),
    lambda a: np.log((a**2).sum(2)),
)
_steps = np.linspace(0, 1e-2, 10, dtype=np.float32)  # no two equal, so that there is one extreme
for _name, _numpy in {"reduce_argmax": np.argmax, "reduce_argmin": np.argmin}.items():
    exact(
        _name,
        lambda x, n=_name: getattr(mb, n)(x=mb.add(x=x, y=_steps), axis=3, keep_dims=True),
        lambda a, g=_numpy: g(a + _steps, axis=3),
    )
case("cumsum", lambda x: mb.cumsum(x=x, axis=2), lambda a: np.cumsum(a, 2))
case(
    "cumsum",
    lambda x: mb.cumsum(x=x, axis=3, exclusive=True, reverse=True),
    lambda a: np.cumsum(a[..., ::-1], 3)[..., ::-1] - a,
    "exclusive, reverse",
)
exact("topk", lambda x: mb.topk(x=mb.add(x=x, y=_steps), k=3, axis=3)[0], lambda a: -np.sort(-(a + _steps))[..., :3])
exact(
    "topk",
    lambda x: mb.topk(x=mb.add(x=x, y=_steps), k=3, axis=3, ascending=True)[1],
    lambda a: np.argsort(a + _steps, axis=3)[..., :3],
    "smallest, positions",
)
exact(
    "argsort",
    lambda x: mb.argsort(x=mb.add(x=x, y=_steps), axis=3),
    lambda a: np.argsort(-(a + _steps), axis=3),
)

# ------------------------------------------------------------------------------------------------ matrix products

_weight, _offset, _right = constant(7, 10), constant(7), constant(4, 10, 3)
case(
    "linear",
    lambda x: mb.linear(x=mb.reshape(x=x, shape=[24, 10]), weight=_weight, bias=_offset),
    lambda a: a.reshape(24, 10) @ _weight.T + _offset,
)
case("matmul", lambda x: mb.matmul(x=x, y=_right), lambda a: a @ _right)
case(
    "matmul",
    lambda x: mb.matmul(x=x, y=x, transpose_x=True),
    lambda a: a.swapaxes(2, 3) @ a,
    "transposed",
)
_tensor = constant(1, 10, 6, 3)
case(
    "einsum",
    lambda x: mb.einsum(values=(x, _tensor), equation="nchw,nwhu->nchu"),
    lambda a: np.einsum("nchw,nwhu->nchu", a, _tensor),
)


def _attention(a: np.ndarray, mask: np.ndarray) -> np.ndarray:
    scores = np.exp(a @ a.swapaxes(2, 3) / math.sqrt(10)) * mask
    return scores / scores.sum(-1, keepdims=True) @ a


_mask = np.tril(np.ones((6, 6), bool))
case(
    "scaled_dot_product_attention",
    lambda x: mb.scaled_dot_product_attention(query=x, key=x, value=x, attn_mask=_mask),
    lambda a: _attention(a, _mask),
)

# --------------------------------------------------------------------------------------------------------- shapes

case("reshape", lambda x: mb.reshape(x=x, shape=[1, 0, -1]), lambda a: a.reshape(1, 6, -1), "0 counts from the end")
case("transpose", lambda x: mb.transpose(x=x, perm=[0, 3, 1, 2]), lambda a: a.transpose(0, 3, 1, 2))
case("expand_dims", lambda x: mb.expand_dims(x=mb.squeeze(x=x, axes=[0]), axes=[0, -1]), lambda a: a)
case("squeeze", lambda x: mb.reduce_max(x=mb.squeeze(x=x), axes=[0]), lambda a: a[0].max(0))
exact(
    "flatten2d",
    lambda x: mb.cast(x=mb.shape(x=mb.flatten2d(x=x, axis=2)), dtype="fp32"),
    lambda a: [4, 60],
)
exact("shape", lambda x: mb.shape(x=x), lambda a: [1, 4, 6, 10])
case("concat", lambda x: mb.concat(values=[x, _full, x], axis=1), lambda a: np.concatenate([a, _full, a], 1))
case(
    "concat",
    lambda x: mb.concat(values=[x, _full], axis=-1, interleave=True),
    lambda a: np.stack([a, _full], -1).reshape(1, 4, 6, 20),
    "interleaved",
)
case("stack", lambda x: mb.stack(values=[x, _full], axis=2), lambda a: np.stack([a, _full], 2))
case("split", lambda x: mb.split(x=x, num_splits=2, axis=1)[1], lambda a: a[:, 2:], "even")
case("split", lambda x: mb.split(x=x, split_sizes=[1, 7, 2], axis=-1)[1], lambda a: a[..., 1:8], "by sizes")
case("tile", lambda x: mb.tile(x=x, reps=[1, 2, 1, 3]), lambda a: np.tile(a, (1, 2, 1, 3)))
case("fill", lambda x: mb.add(x=x, y=mb.fill(shape=[6, 10], value=f(0.25))), lambda a: a + 0.25)
case("fill_like", lambda x: mb.add(x=x, y=mb.fill_like(ref_tensor=x, value=f(0.25))), lambda a: a + 0.25)
case("reverse", lambda x: mb.reverse(x=x, axes=[1, 3]), lambda a: a[:, ::-1, :, ::-1])
case(
    "range_1d", lambda x: mb.mul(x=x, y=mb.range_1d(start=f(0), end=f(5), step=f(0.5))), lambda a: a * np.arange(10) / 2
)
case("band_part", lambda x: mb.band_part(x=x, lower=1, upper=2), lambda a: np.tril(np.triu(a, -1), 2))
case("band_part", lambda x: mb.band_part(x=x, lower=-1, upper=0), lambda a: np.tril(a), "lower triangle")
case(
    "pad",
    lambda x: mb.pad(x=x, pad=[1, 2, 0, 3], mode="constant", constant_val=f(0.5)),
    lambda a: _slow.padded(a, (1, 2, 0, 3), 0.5),
)
for _mode, _numpy_mode in (("reflect", "reflect"), ("replicate", "edge")):
    case(
        "pad",
        lambda x, m=_mode: mb.pad(x=x, pad=[1, 2, 0, 3], mode=m),
        lambda a, m=_numpy_mode: np.pad(a, [(0, 0), (0, 0), (1, 2), (0, 3)], mode=m),
        _mode,
    )


def _shuffled(a: np.ndarray) -> np.ndarray:
    """out[0, 0, 2y + i, 2x + j] = in[0, 2i + j, y, x]."""
    result = np.zeros((1, 1, 12, 20))
    for i in range(2):
        for j in range(2):
            result[0, 0, i::2, j::2] = a[0, 2 * i + j]
    return result


def _spread(a: np.ndarray) -> np.ndarray:
    """TensorFlow's order: block positions outside, channels inside."""
    return np.concatenate([a[:, :, i::2, j::2] for i in range(2) for j in range(2)], 1)


case("pixel_shuffle", lambda x: mb.pixel_shuffle(x=x, upscale_factor=2), _shuffled)
case(
    "pixel_unshuffle",
    lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
    lambda a: np.stack([a[:, :, i::2, j::2] for i in range(2) for j in range(2)], 2),
)
case("space_to_depth", lambda x: mb.space_to_depth(x=x, block_size=2), _spread)
case("depth_to_space", lambda x: mb.depth_to_space(x=mb.space_to_depth(x=x, block_size=2), block_size=2), lambda a: a)
case("depth_to_space", lambda x: mb.depth_to_space(x=x, block_size=2), _shuffled, "of one channel")

# ------------------------------------------------------------------------------------------------------- look-ups

case(
    "slice_by_index",
    lambda x: mb.slice_by_index(
        x=x,
        begin=[0, -3, 9, 8],
        end=[1, -1, 9, 1],
        stride=[1, 1, 2, -2],
        begin_mask=[False, False, True, False],
        end_mask=[False, False, True, False],
    ),
    lambda a: a[:, -3:-1, ::2, 8:1:-2],
)
case(
    "slice_by_index",
    lambda x: mb.slice_by_index(x=x, begin=[0, 2, 1, 0], end=[0, 0, 5, 10], squeeze_mask=[True, True, False, False]),
    lambda a: a[0, 2, 1:5],
    "squeezed",
)
case(
    "slice_by_size",
    lambda x: mb.slice_by_size(x=x, begin=[0, 1, 2, 3], size=[1, 2, -1, 4]),
    lambda a: a[:, 1:3, 2:, 3:7],
)
case("gather", lambda x: mb.gather(x=x, indices=[3, 0, 3], axis=1), lambda a: a[:, [3, 0, 3]])
_index = np.array([[1, 5], [0, 0], [2, 3], [4, 1]], np.int32)
case(
    "gather",
    lambda x: mb.gather(x=mb.squeeze(x=x, axes=[0]), indices=_index, axis=1, batch_dims=1),
    lambda a: np.stack([a[0, channel, _index[channel]] for channel in range(4)]),
    "batch dims",
)
_along = np.random.default_rng(3).integers(0, 6, (1, 4, 6, 10), dtype=np.int32)
case(
    "gather_along_axis",
    lambda x: mb.gather_along_axis(x=x, indices=_along, axis=2),
    lambda a: np.take_along_axis(a, _along, 2),
)
case(
    "gather_nd",
    lambda x: mb.gather_nd(x=x, indices=np.array([[0, 3, 5], [0, 1, 2]], np.int32)),
    lambda a: np.stack([a[0, 3, 5], a[0, 1, 2]]),
)
case(
    "gather_nd",
    lambda x: mb.gather_nd(x=mb.squeeze(x=x, axes=[0]), indices=_index[:, :, None], batch_dims=1),
    lambda a: np.stack([a[0, channel, _index[channel]] for channel in range(4)]),
    "batch dims",
)
exact(
    "one_hot",
    lambda x: mb.one_hot(
        indices=mb.reduce_argmax(x=mb.add(x=x, y=_steps), axis=3),
        one_hot_vector_size=10,
        axis=1,
        on_value=f(2),
        off_value=f(-1),
    ),
    lambda a: np.where(np.arange(10)[None, :, None, None] == np.argmax(a + _steps, 3)[:, None], 2, -1),
)
case(
    "sliding_windows",
    lambda x: mb.sliding_windows(x=x, axis=3, size=4, stride=3),
    lambda a: np.stack([a[..., 0:4], a[..., 3:7], a[..., 6:10]], 3),
)
case("crop", lambda x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 3]), lambda a: a[:, :, 1:-2, :-3])

# ------------------------------------------------------------------------------------------------------- resizing

case(
    "upsample_nearest_neighbor",
    lambda x: mb.upsample_nearest_neighbor(x=x, scale_factor_height=2, scale_factor_width=3),
    lambda a: a.repeat(2, 2).repeat(3, 3),
)
case(
    "resize_nearest_neighbor",
    lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=4, target_size_width=15),
    lambda a: a[:, :, [0, 1, 3, 4]][..., [0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7, 8, 8, 9]],
)
_GRIDS: dict[str, Callable[[int, int, int], float]] = {
    "STRICT_ALIGN_CORNERS": lambda i, source, target: i * (source - 1) / (target - 1),
    "ALIGN_CORNERS": lambda i, source, target: i * (source - 1) / (target - 1),
    "UNALIGN_CORNERS": lambda i, source, target: (i + 0.5) * source / target - 0.5,
    "DEFAULT": lambda i, source, target: i * (source - source / target) / (target - 1),
    "OFFSET_CORNERS": lambda i, source, target: (i + 0.5) * (source - 1) / target,
}
for _mode, _grid in _GRIDS.items():
    case(
        "resize_bilinear",
        lambda x, m=_mode: mb.resize_bilinear(x=x, target_size_height=9, target_size_width=7, sampling_mode=m),
        lambda a, g=_grid: _slow.bilinear(a, (9, 7), g),
        _mode,
    )
case(
    "resize",
    lambda x: mb.resize(x=x, shape=[9, 7], resized_dims=np.uint32(2), sampling_mode="UNALIGN_CORNERS"),
    lambda a: _slow.bilinear(a, (9, 7), _GRIDS["UNALIGN_CORNERS"]),
)
for _align, _half, _mode in (
    (True, False, "ALIGN_CORNERS"),
    (False, True, "UNALIGN_CORNERS"),
    (False, False, "DEFAULT"),
):
    case(
        "upsample_bilinear",
        lambda x, a=_align, h=_half: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=a, half_pixel_centers=h
        ),
        lambda a, m=_mode: _slow.bilinear(a, (12, 30), _GRIDS[m]),
        _mode,
    )

# --------------------------------------------------------------------------------------------- 8-bit activations

_scale = np.float32([0.0103, 0.0207, 0.00533, 0.0971])
_zero = np.int8([-3, 0, 20, 5])
exact(
    "quantize",
    lambda x: mb.cast(
        x=mb.quantize(input=x, scale=f(0.0123), zero_point=np.uint8(99), output_dtype="uint8"), dtype="fp32"
    ),
    lambda a: np.clip(np.round(a / f(0.0123)) + 99, 0, 255),
)
exact(
    "dequantize",
    lambda x: mb.dequantize(
        input=mb.quantize(input=x, scale=_scale, zero_point=_zero, output_dtype="int8", axis=1),
        scale=_scale,
        zero_point=_zero,
        axis=1,
    ),
    lambda a: _column(_scale) * (np.clip(np.round(a / _column(_scale)) + _column(_zero), -128, 127) - _column(_zero)),
)

# ------------------------------------------------------------------------------------------------- stored weights


def stored(operation: str, weight: Callable[[], Any], expected: Any, target: ct.target, label: str = "") -> None:
    """A compressed weight times the mean of the pixels."""
    dense = np.array(expected, np.float64)
    build = lambda x: mb.mul(x=weight(), y=mb.reduce_mean(x=x))  # noqa: E731
    CASES.append(Case(operation, build, lambda a: dense * a.mean(), target=target, label=label))


def _sparse(pair: Any) -> Any:
    mask, values = pair
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)


IOS16, IOS18 = ct.target.iOS16, ct.target.iOS18
stored(
    "constexpr_affine_dequantize",
    lambda: mb.constexpr_affine_dequantize(
        quantized_data=np.int8([[-5, 0, 7], [-5, 0, 7]]),
        zero_point=np.int8([1, -2]),
        scale=np.float32([0.5, 2]),
        axis=0,
    ),
    [[-3, -0.5, 3], [-6, 4, 18]],
    IOS16,
)
# 0b00_11_01_10 and 0b01: element 0 lies in the lowest bits of byte 0, element 4 in those of byte 1.
stored(
    "constexpr_lut_to_dense",
    lambda: mb.constexpr_lut_to_dense(
        indices=np.uint8([0b00_11_01_10, 0b01]), lut=np.float32([10, 11, 12, 13]), shape=np.uint32([5])
    ),
    [12, 11, 13, 10, 11],
    IOS16,
)
stored(
    "constexpr_sparse_to_dense",
    lambda: mb.constexpr_sparse_to_dense(
        nonzero_data=np.float32([7, 8]), mask=np.uint8([0b01100]), shape=np.uint32([5])
    ),
    [0, 0, 7, 8, 0],
    IOS16,
)
stored(
    "constexpr_cast",
    lambda: mb.constexpr_cast(source_val=np.float16([0.5, 3]), output_dtype="fp32"),
    [0.5, 3],
    IOS16,
)
stored(
    "constexpr_blockwise_shift_scale",
    lambda: mb.constexpr_blockwise_shift_scale(
        data=np.array([[1, -8, 7, 2], [3, 3, -1, 0]]).astype(types.np_int4_dtype),
        scale=np.float32([[0.5, 2], [1, 10]]),
        offset=np.array([[1, 0], [-1, 2]]).astype(types.np_int4_dtype),
    ),
    [[0, -4.5, 14, 4], [4, 4, -30, -20]],
    IOS18,
)
# The examples in Apple's description of the operation.
stored(
    "constexpr_lut_to_dense",
    lambda: mb.constexpr_lut_to_dense(
        indices=np.array([[2, 3], [3, 0], [1, 0], [3, 0], [2, 1], [0, 3]]).astype(types.np_uint2_dtype),
        lut=np.float32([1, 5, 9, 13, 2, 10, 18, 26]).reshape(2, 1, 4, 1),
    ),
    [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]],
    IOS18,
    "grouped",
)
for _axis, _expected in (
    (1, [[[1, 1], [2, 2], [3, 3], [4, 1], [5, 2], [6, 3]], [[4, 4], [5, 5], [6, 6], [1, 1], [2, 2], [3, 3]]]),
    (2, [[[1, 2, 3, 1, 2, 3], [4, 5, 6, 1, 2, 3]], [[4, 5, 6, 4, 5, 6], [1, 2, 3, 1, 2, 3]]]),
):
    stored(
        "constexpr_lut_to_dense",
        lambda axis=_axis: mb.constexpr_lut_to_dense(
            indices=np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]]).astype(types.np_uint1_dtype),
            lut=np.float32([[1, 2, 3], [4, 5, 6]]).reshape(1, 1, 1, 2, 3),
            vector_axis=np.int32(axis),
        ),
        _expected,
        IOS18,
        f"vectors along axis {_axis}",
    )
stored(
    "constexpr_sparse_to_dense",
    lambda: _sparse((np.array([[0, 1], [1, 0]]).astype(types.np_uint1_dtype), np.float32([7, 8]))),
    [[0, 7], [8, 0]],
    IOS18,
)
stored(
    "constexpr_lut_to_sparse",
    lambda: _sparse(
        mb.constexpr_lut_to_sparse(
            indices_mask=np.array([[0, 1], [1, 1]]).astype(types.np_uint1_dtype),
            indices_nonzero_data=np.array([0, 1, 0]).astype(types.np_uint1_dtype),
            lut=np.float32([3, 4]).reshape(1, 1, 2, 1),
        )
    ),
    [[0, 3], [4, 3]],
    IOS18,
)
stored(
    "constexpr_sparse_blockwise_shift_scale",
    lambda: _sparse(
        mb.constexpr_sparse_blockwise_shift_scale(
            data_mask=np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]]).astype(types.np_uint1_dtype),
            nonzero_data=np.int8([10, 11, 3, 4, 5, 6, 7, 8, 9]),
            scale=np.float32([[0.1, 0.2, 0.3, 0.4]]),
            offset=np.int8([[1, 2, 3, 4]]),
        )
    ),
    [[0.9, 1.8, 0, 0], [0.2, 0.4, 0.6, 0], [0, 0, 0.9, 1.2], [0.7, 1.4, 0, 0]],
    IOS18,
)
