"""coremltools' own tests of MIL operations on the reference executor: ``python -m benchmarks.coremltools_tests``.

coremltools' tests hold an expected NumPy value for each operation, but compare it only on macOS, with Core ML. Here its
``run_compare_builder`` is replaced: the program gets the test's inputs as constants of the test's types, or as values
that depend on the image where the operation takes no constants; it is stored as a package, and the executor of
``validators.mlprogram`` gives its outputs. A test has passed if all its values agree, differs if one does not, and is
not supported if the executor refuses the program. Prints the table of ``docs/checks.md`` and why the others did not
pass. Of each test's many parameters the first, the middle and the last are taken. Arguments go to pytest:
``-k TestPad``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from validators.mlprogram.light_import import load_coremltools

load_coremltools()
import coremltools as ct  # noqa: E402
from coremltools.converters.mil import Builder as mb  # noqa: E402, N813
from coremltools.converters.mil.mil import types  # noqa: E402
from coremltools.converters.mil.mil.program import StateTensorPlaceholder  # noqa: E402

from validators.mlprogram.execute import Executor  # noqa: E402
from validators.mlprogram.program import load  # noqa: E402

PASSED, DIFFERS, UNSUPPORTED, OTHER = "passed", "differs", "not supported", "no program"
_TOOL = "coremltools.converters.mil.mil.ops.tests"
_SIDE = 8
_ROUNDING_OF_HALF = 2**-10


class Differs(AssertionError):
    """The executor gives another value than coremltools' test expects."""


class Unsupported(Exception):
    """The executor refuses the program."""


class NoProgram(Exception):
    """coremltools cannot store the test's program with an image as its only input, or the test has no values."""


def executed(build: Callable[..., Any], inputs: Mapping[str, np.ndarray], target: Any) -> list[np.ndarray]:
    """The values that the executor gives for a test's program; each is a package of its own.

    Raises:
        Unsupported: the executor refuses the program.
        NoProgram: coremltools cannot make one.
    """
    try:
        return _values(build, inputs, target, _constant)
    except NoProgram:
        return _values(build, inputs, target, _dynamic)


MakeInput = Callable[[np.ndarray, Any], Any]
"""(value, image) -> the variable that holds the value in a program."""


def _constant(value: np.ndarray, image: Any) -> Any:
    return mb.const(val=value)


def _dynamic(value: np.ndarray, image: Any) -> Any:
    """The value plus 0 times the image, because some operations take no constants."""
    held = "bool" if value.dtype == bool else str(value.dtype).replace("float", "fp")
    nothing = mb.mul(x=mb.reduce_sum(x=image, keep_dims=False), y=np.float32(0))
    working = value.astype(np.float32 if held.startswith("fp") or held == "bool" else np.int32)
    if working.dtype == np.int32:
        nothing = mb.cast(x=nothing, dtype="int32")
    summed = mb.add(x=working, y=nothing)
    return summed if working.dtype == value.dtype else mb.cast(x=summed, dtype=held)


def _values(
    build: Callable[..., Any], inputs: Mapping[str, np.ndarray], target: Any, make: MakeInput
) -> list[np.ndarray]:
    return [_value(build, inputs, target, number, make) for number in range(_count(build, inputs, target, make))]


def _outputs(build: Callable[..., Any], inputs: Mapping[str, np.ndarray], image: Any, make: MakeInput) -> list[Any]:
    found = build(**{name: make(value, image) for name, value in inputs.items()})
    return list(found) if isinstance(found, list | tuple) else [found]


def _count(build: Callable[..., Any], inputs: Mapping[str, np.ndarray], target: Any, make: MakeInput) -> int:
    counts: list[int] = []

    def count(image: Any) -> Any:
        counts.append(len(_outputs(build, inputs, image, make)))
        return mb.identity(x=image)

    try:
        _program(count, target)
    except Exception as error:  # whatever the test's builder raises
        raise NoProgram(_first_line(error)) from error
    return counts[0]


def _program(body: Callable[[Any], Any], target: Any) -> Any:
    return mb.program(input_specs=[mb.TensorSpec(shape=(1, 3, _SIDE, _SIDE))], opset_version=target)(body)


def _value(
    build: Callable[..., Any], inputs: Mapping[str, np.ndarray], target: Any, number: int, make: MakeInput
) -> np.ndarray:
    """float16 if the program declares half precision, float32 otherwise."""
    shapes: list[tuple[Any, ...]] = []
    half = False

    def body(image: Any) -> Any:
        nonlocal half
        found = _outputs(build, inputs, image, make)[number]
        shapes.append(tuple(found.shape))
        half = found.dtype == types.fp16
        if found.dtype != types.fp32:
            found = mb.cast(x=found, dtype="fp32")
        return mb.reshape(x=found, shape=[1, -1], name="embedding")

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "op.mlpackage"
        try:
            ct.convert(
                _program(body, target),
                convert_to="mlprogram",
                inputs=[ct.ImageType(name="image", shape=(1, 3, _SIDE, _SIDE), color_layout=ct.colorlayout.RGB)],
                outputs=[ct.TensorType(name="embedding", dtype=np.float32)],
                minimum_deployment_target=target,
                compute_precision=ct.precision.FLOAT32,
                pass_pipeline=ct.PassPipeline.EMPTY,
                skip_model_load=True,
            ).save(str(path))
        except Exception as error:  # converters raise all kinds
            raise NoProgram(_first_line(error)) from error
        try:
            flat = Executor(load(path))(np.zeros((1, _SIDE, _SIDE, 3), np.uint8))
        except Exception as error:  # a refusal has many types: an operation, its arguments, a type
            raise Unsupported(_first_line(error)) from error
    if half:
        flat = flat.astype(np.float16)
    return flat.reshape(shapes[0]) if all(isinstance(size, int) for size in shapes[0]) else flat.reshape(-1)


def require_same(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], atol: float, rtol: float) -> None:
    """Raises Differs if a value or a shape is another; half precision may differ by its rounding."""
    for one, right in zip(found, expected, strict=True):
        right = np.asarray(right)
        if one.dtype == np.float16:
            one, rtol = one.astype(np.float32), max(rtol, _ROUNDING_OF_HALF)
        if one.size != right.size or (right.ndim and one.ndim > 1 and one.shape != right.shape):
            raise Differs(f"shape {one.shape}, expected {right.shape}")
        if not np.allclose(one, right.astype(np.float32).reshape(one.shape), atol=atol, rtol=rtol, equal_nan=True):
            error = float(np.nanmax(np.abs(one - right.astype(np.float32).reshape(one.shape))))
            raise Differs(f"differs by {error:.3g}")


def run_compare_builder(
    build: Callable[..., Any],
    input_placeholders: Mapping[str, Any],
    input_values: Mapping[str, Any] | None = None,
    expected_output_types: object = None,
    expected_outputs: Any = None,
    *,
    backend: Any = None,
    atol: float = 1e-4,
    rtol: float = 1e-5,
    **options: object,
) -> Converted:
    """What coremltools' tests call, with the reference executor instead of Core ML."""
    if any(isinstance(each, StateTensorPlaceholder) for each in input_placeholders.values()):
        raise Unsupported("the executor refuses a program with a state")
    if options.get("frontend_only") or expected_outputs is None:
        raise NoProgram("the test expects no values")
    inputs = {name: _typed(value, input_placeholders[name]) for name, value in (input_values or {}).items()}
    found = executed(build, inputs, max(backend.opset_version, ct.target.iOS15))
    right = expected_outputs if isinstance(expected_outputs, list) else [expected_outputs]
    require_same(found, right, atol, max(rtol, 1e-4))
    return Converted(build, input_placeholders, input_values, expected_output_types, backend)


class Converted:
    """coremltools' model of a test, which is made if the test looks at it after its values were compared.

    Attributes:
        original: coremltools' ``run_compare_builder``.
    """

    original: ClassVar[Callable[..., Any]]

    def __init__(self, *arguments: Any) -> None:
        self._arguments = arguments

    def __getattr__(self, name: str) -> Any:
        build, placeholders, values, kinds, backend = self._arguments
        return getattr(self.original(build, placeholders, values, kinds, frontend_only=True, backend=backend), name)


def _typed(value: Any, placeholder: Any) -> np.ndarray:
    """The value in the type that the test gives it."""
    if not isinstance(value, np.ndarray | np.generic | int | float | bool):
        raise NoProgram("an image")
    return np.asarray(value, types.nptype_from_builtin(placeholder.dtype))


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:160]}"


class Outcomes:
    """A plugin of pytest that counts what became of every test.

    Attributes:
        found: test class, such as ``TestPad`` -> outcome -> number of tests.
        reasons: (test class, outcome) -> the reasons for it -> number of tests.
    """

    def __init__(self) -> None:
        self.found: dict[str, Counter[str]] = defaultdict(Counter)
        self.reasons: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep a few cases of each test of ML Programs in single precision: half precision rounds NumPy's values."""
        cases: dict[str, list[Any]] = defaultdict(list)
        for item in items:
            if _single(item):
                cases[item.nodeid.partition("[")[0]].append(item)
        items[:] = [of[i] for of in cases.values() for i in sorted({0, len(of) // 2, len(of) - 1})]

    def pytest_runtest_call(self, item: Any) -> None:
        np.random.seed(0)  # the tests draw from it

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        report = yield
        if call.when == "call":
            error = call.excinfo.value if call.excinfo else None
            outcome = next(
                (word for kind, word in ((Differs, DIFFERS), (Unsupported, UNSUPPORTED)) if isinstance(error, kind)),
                PASSED if error is None else OTHER,
            )
            name = item.cls.__name__ if item.cls else item.name.partition("[")[0]
            self.found[name][outcome] += 1
            if error is not None:
                self.reasons[name, outcome][f"{item.originalname}: {_first_line(error)}"] += 1
        return report


def _single(item: Any) -> bool:
    values = getattr(getattr(item, "callspec", None), "params", {})
    backend = values.get("backend")
    return (getattr(backend, "backend", None), getattr(backend, "precision", None)) == ("mlprogram", "fp32")


def table(found: Mapping[str, Counter[str]]) -> str:
    """Markdown: the totals, then the operations that did not all pass."""
    total: Counter[str] = Counter()
    for counts in found.values():
        total.update(counts)
    words = (PASSED, UNSUPPORTED, DIFFERS, OTHER)
    lines = [f"| tests of | {' | '.join(words)} |", "|---|---|---|---|---|"]
    lines += [f"| all {len(found)} operations | {' | '.join(str(total[word]) for word in words)} |"]
    for name, counts in sorted(found.items()):
        if set(counts) - {PASSED}:
            lines.append(f"| {name.removeprefix('Test')} | {' | '.join(str(counts[word]) for word in words)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> Outcomes:
    """Run the tests that are installed with coremltools."""
    import importlib

    os.environ |= {"INCLUDE_MIL_FP32_UNIT_TESTS": "1", "PYMIL_TEST_TARGETS": "mlprogram"}
    tool: Any = importlib.import_module(f"{_TOOL}.testing_utils")
    Converted.original = staticmethod(tool.run_compare_builder)
    tool.run_compare_builder = run_compare_builder  # before a test imports it
    outcomes = Outcomes()
    options = ["-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "-c", "/dev/null", "--pyargs"]
    folders = [f"{_TOOL}.{each}" for each in ("iOS14", "iOS15", "iOS16", "iOS17", "iOS18")]
    pytest.main([*options, *arguments, *folders], plugins=[outcomes])
    return outcomes


if __name__ == "__main__":
    outcomes = main(sys.argv[1:])
    print(table(outcomes.found))
    for (name, outcome), reasons in sorted(outcomes.reasons.items()):
        for reason, count in reasons.items():
            print(f"{name} {outcome}, {count}: {reason}")
