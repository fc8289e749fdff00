"""The OpenAPI document and its page: public, whole, and at home under the strict policy."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema

from jobsvc.api.openapi import ERRORS
from tests.api.addresses import addresses
from tests.conftest import client_with


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_document_is_valid_and_nothing_in_it_was_guessed(document: dict[str, Any]) -> None:
    validate_schema(document)

    assert not GENERATOR_STATS, "drf-spectacular warned; see what it printed above"


def test_every_address_is_in_the_document_with_its_methods(document: dict[str, Any]) -> None:
    described = {path: set(operations) for path, operations in document["paths"].items()}

    assert described == {
        one.filled({name: f"{{{name}}}" for name in one.names}).replace("{pk}", "{id}"): {
            *one.methods
        }
        for one in addresses()
        if one.route.endswith(("/", "path>"))
    }


def test_every_answer_is_enveloped_and_every_error_declared(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert set(ERRORS) <= set(operation["responses"]), (path, method)
            for code, response in operation["responses"].items():
                schema = response.get("content", {}).get("application/json", {}).get("schema")
                if schema and code.startswith("2"):
                    assert {"status", "data"} <= set(schema["properties"]), (path, method)


def test_creating_answers_201_in_the_document(document: dict[str, Any]) -> None:
    jobs = document["paths"]["/api/v2/accounts/{account_id}/jobs/"]

    assert "201" in jobs["post"]["responses"]
    assert "200" in jobs["get"]["responses"]


@pytest.mark.parametrize("url", ["/api/schema/", "/api/schema"])
def test_anybody_may_read_the_document(url: str, db: None) -> None:
    response = client_with().get(url)

    assert response.status_code == 200
    assert yaml.safe_load(response.content)["info"]["title"] == "jobsvc"


def test_the_page_needs_no_inline_script_or_style(db: None) -> None:
    response = client_with().get("/api/docs/", HTTP_ACCEPT="text/html")

    page = response.content.decode()
    assert response.status_code == 200
    assert "<style" not in page
    assert "<script>" not in page
    assert "style=" not in page
    assert "unsafe" not in response["Content-Security-Policy"]


@pytest.mark.parametrize("method", ["OPTIONS", "POST", "PATCH", "PUT", "DELETE", "TRACE"])
@pytest.mark.parametrize("url", ["/api/docs/", "/api/docs"])
def test_the_page_can_only_be_read(method: str, url: str) -> None:
    response = client_with().generic(method, url)

    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"


def test_the_pages_script_comes_from_the_same_address(db: None) -> None:
    response = client_with().get("/api/docs/?script=", HTTP_ACCEPT="*/*")

    assert response["Content-Type"].startswith("application/javascript")
    assert "/api/schema/" in response.content.decode()


def test_the_page_brings_its_own_files() -> None:
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js"):
        assert finders.find(f"drf_spectacular_sidecar/swagger-ui-dist/{name}")
