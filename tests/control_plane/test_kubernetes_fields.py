"""The fields of Kubernetes that `check` knows are those of the API server's OpenAPI."""

import pytest
from msgspec import inspect

from webhook.check.kubernetes_fields import OTHER_FIELDS, VERSION


@pytest.fixture(scope="module")
def properties(plane) -> dict[str, set[str]]:
    """Return the properties of the API server's schemas, by the schema's name without its package."""
    version = "{}.{}".format(*plane.version)
    if version != VERSION:
        pytest.skip(f"the fields are those of Kubernetes {VERSION}, not {version}")
    found: dict[str, set[str]] = {}
    for path in ("api/v1", "apis/apps/v1", "apis/batch/v1"):
        _, answer = plane.ask("GET", f"/openapi/v3/{path}")
        schemas = answer["components"]["schemas"]
        found |= {name.rpartition(".")[2]: set(schema.get("properties", ())) for name, schema in schemas.items()}
    return found


@pytest.mark.parametrize("model", OTHER_FIELDS, ids=lambda model: model.__name__)
def test_known_fields_are_those_of_the_api_server(properties, model) -> None:
    schemas, others = OTHER_FIELDS[model]
    read = {field.encode_name for field in inspect.type_info(model).fields}
    assert read | set(others.split()) == set().union(*(properties[schema] for schema in schemas.split()))
    assert not read & set(others.split())
