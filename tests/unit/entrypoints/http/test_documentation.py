"""The contract is what the program serves."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from photochanger import __version__
from photochanger.entrypoints.http.app import create_app
from photochanger.entrypoints.http.documentation import openapi_document, openapi_yaml
from photochanger.entrypoints.http.photo_operations import INGEST_ERRORS
from tests.system.http_server import System

CONTRACTS = Path(__file__).parents[4] / "contracts"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document(create_app(System().container))


def test_the_contract_is_what_the_program_serves() -> None:
    written = (CONTRACTS / "openapi.yaml").read_text(encoding="utf-8")
    assert written == openapi_yaml(create_app(System().container)), "run: make contracts"
    assert json.loads((CONTRACTS / "VERSION.json").read_text()) == {"version": __version__}


def test_the_contract_reads_as_the_document(document: dict[str, Any]) -> None:
    assert yaml.safe_load(openapi_yaml(create_app(System().container))) == json.loads(json.dumps(document))


def test_both_addresses_of_the_ingest_are_described_alike(document: dict[str, Any]) -> None:
    short, long = (document["paths"][path]["post"] for path in ("/ingest/{slot_id}", "/api/ingest/{slot_id}"))
    assert short.pop("operationId") != long.pop("operationId")
    assert short == long


def test_every_error_of_the_ingest_is_described_with_an_example(document: dict[str, Any]) -> None:
    responses = document["paths"]["/ingest/{slot_id}"]["post"]["responses"]
    described = {
        code: (int(status), example["value"])
        for status, response in responses.items()
        for code, example in response.get("content", {})
        .get("application/problem+json", {})
        .get("examples", {})
        .items()
    }
    assert set(described) == {error.code for error in INGEST_ERRORS}
    for code, (status, example) in described.items():
        assert (example["code"], example["status"]) == (code, status)


def test_the_form_is_described(document: dict[str, Any]) -> None:
    body = document["paths"]["/ingest/{slot_id}"]["post"]["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]
    assert schema["required"] == ["fileToUpload"]
    assert set(schema["properties"]) == {"fileToUpload", "password", "inline"}


def test_times_have_their_format(document: dict[str, Any]) -> None:
    job = document["components"]["schemas"]["JobView"]["properties"]
    assert job["created_at"]["format"] == "date-time"


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    named = {piece.split('"')[0] for piece in text.split('"#/components/schemas/')[1:]}
    assert named <= set(schemas)
