"""What somebody who has nothing but the contract needs to find there."""

import re
from http import HTTPStatus

import msgspec

from photochanger.entrypoints.documents.reading import read_document
from photochanger.entrypoints.http.errors import PROBLEM_TYPE
from photochanger.entrypoints.http.examples import BODIES
from tests.system.contract import CONTRACT, document, operations, violations


def test_every_operation_says_what_it_does() -> None:
    for operation in operations():
        said = operation.described
        assert said["summary"], operation
        assert said["description"], operation
        assert said["tags"], operation
    ids = [operation.described["operationId"] for operation in operations()]
    assert len(set(ids)) == len(ids)


def test_every_parameter_is_described_and_has_a_schema() -> None:
    for operation in operations():
        for parameter in operation.described.get("parameters", ()):
            assert parameter["description"], f"{operation} {parameter['name']}"
            assert parameter["schema"], f"{operation} {parameter['name']}"
        named = {p["name"] for p in operation.described.get("parameters", ()) if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", operation.path)), operation


def test_every_status_is_described_and_has_a_schema() -> None:
    bodiless = {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    for operation in operations():
        assert {400, 414, 431, 500} <= set(operation.responses), operation
        for status, response in operation.responses.items():
            assert response["description"], f"{operation} {status}"
            if status not in bodiless:
                assert response["content"], f"{operation} {status}"
            for content in response.get("content", {}).values():
                assert content["schema"], f"{operation} {status}"


def test_every_example_is_what_its_schema_says() -> None:
    checked = 0
    for operation in operations():
        bodies = [operation.described.get("requestBody", {}), *operation.responses.values()]
        for content in [content for body in bodies for content in body.get("content", {}).values()]:
            for name, example in content.get("examples", {}).items():
                assert violations(content["schema"], example["value"]) == [], f"{operation} {name}"
                checked += 1
        for parameter in operation.described.get("parameters", ()):
            for example in parameter["schema"].get("examples", ()):
                assert violations(parameter["schema"], example) == [], f"{operation} {parameter['name']}"
    assert checked > 300


def test_every_json_body_has_examples_that_are_read() -> None:
    for operation in operations():
        content = operation.described.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            assert content["application/json"]["examples"], operation
    for struct, examples in BODIES.items():
        for example in examples.values():
            assert read_document(msgspec.json.encode(example), struct) == example


def test_every_field_of_a_form_is_described() -> None:
    for operation in operations():
        content = operation.described.get("requestBody", {}).get("content", {})
        for field in content.get("multipart/form-data", {}).get("schema", {}).get("properties", {}).values():
            assert field["description"], operation


def test_every_code_of_every_error_appears_with_its_status() -> None:
    written = re.findall(
        r"^\| `(\w+)` \| (\d+) \|", CONTRACT.with_name("errors.md").read_text(), re.MULTILINE
    )
    found = {
        (code, str(status))
        for operation in operations()
        for status, response in operation.responses.items()
        for code in response.get("content", {}).get(PROBLEM_TYPE, {}).get("examples", {})
    }
    of_no_operation = {("not_found", "404"), ("method_not_allowed", "405")}
    assert set(written) - of_no_operation <= found
    assert {code for code, _ in found} == {code for code, _ in written} - {"not_found", "method_not_allowed"}


def test_who_must_log_in_is_told() -> None:
    assert document()["components"]["securitySchemes"]["bearer"]["type"] == "http"
    for operation in operations():
        secured = bool(operation.described.get("security"))
        assert secured == (
            401 in operation.responses and "WWW-Authenticate" in operation.responses[401]["headers"]
        )
