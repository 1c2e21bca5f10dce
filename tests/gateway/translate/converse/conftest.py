"""What tests of translation share: how a provider's own software sees a body."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

Body = dict[str, Any]


@pytest.fixture(scope="session")
def accepted_by_bedrock() -> Callable[[Body], None]:
    """Return what sees that Amazon's own software accepts a body, and would itself write it so."""
    client = boto3.client(
        "bedrock-runtime", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    model = client.meta.service_model
    operation = model.operation_model("Converse")

    def see(body: Body) -> None:
        fields = {**decoded(body, operation.input_shape), "modelId": "m"}
        report = ParamValidator().validate(fields, operation.input_shape)
        assert not report.has_errors(), report.generate_report()
        unknown = list(strangers(body, operation.input_shape))
        assert not unknown, unknown
        serializer = create_serializer(model.metadata["protocol"])
        assert json.loads(serializer.serialize_to_request(fields, operation)["body"]) == body

    return see


def decoded(value: Any, shape: Any) -> Any:
    """Return what an SDK's caller would have passed: the text itself where it is a blob."""
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        members = shape.members
        return {name: decoded(inner, members[name]) for name, inner in value.items() if name in members}
    if shape.type_name == "list":
        return [decoded(inner, shape.member) for inner in value]
    if shape.type_name == "blob":
        return base64.b64decode(value)
    return value


def strangers(value: Any, shape: Any, at: str = "") -> Iterator[str]:
    """Yield what the shape has no field for, and what is none of its enumeration."""
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        for name, inner in value.items():
            if name not in shape.members:
                yield f"{at}.{name}"
            else:
                yield from strangers(inner, shape.members[name], f"{at}.{name}")
    elif shape.type_name == "list":
        for inner in value:
            yield from strangers(inner, shape.member, at)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{at}={value}"
