"""Requests made from the API's own description, right and wrong ones: every answer is one that it describes."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from compress.demo.app import create_app
from tests.conftest import Finished

HOST = {"Host": "127.0.0.1:8000"}
OPERATIONS = [("/artifacts", "get"), ("/search", "post"), ("/thumbnails/{number}", "get")]
EXAMPLES = settings(
    max_examples=50, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.fixture(scope="module")
def app(finished: Finished) -> Iterator[ASGIApp]:
    made = create_app([finished.folder])
    with TestClient(made, base_url="http://127.0.0.1:8000"):
        yield made


@pytest.fixture(scope="module")
def description(app: ASGIApp) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/openapi.json", app, headers=HOST)


def test_all_operations_are_tried(description: schemathesis.BaseSchema) -> None:
    found = [(each.ok().path, each.ok().method) for each in description.get_all_operations()]
    assert sorted(found) == OPERATIONS


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_described(description: schemathesis.BaseSchema, path: str, method: str) -> None:
    statuses: Counter[int] = Counter()
    operation = description[path][method]
    cases = st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))

    @EXAMPLES
    @given(case=cases)
    def check(case: Case) -> None:
        answer = case.call_and_validate(headers=HOST)
        statuses[answer.status_code] += 1

    check()
    assert not {status for status in statuses if status >= 500}
    assert statuses.total() >= (1 if path == "/artifacts" else 40)


def test_a_picture_that_is_found_is_described(description: schemathesis.BaseSchema) -> None:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(file, "PNG")
    case = description["/search"]["post"].Case(
        query={"artifact": "tiny.fp32.onnx", "top": 3}, body=file.getvalue(), media_type="image/png"
    )
    assert case.call_and_validate(headers=HOST).status_code == 200


def test_an_answer_that_is_not_described_is_noticed(description: schemathesis.BaseSchema) -> None:
    case = description["/artifacts"]["get"].Case()
    answer = case.call(headers={"Host": "evil.example"})  # which the guard refuses with 421
    with pytest.raises(FailureGroup, match="Undocumented status code"):
        case.validate_response(answer)
