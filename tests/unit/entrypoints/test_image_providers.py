"""The installed providers: how they are found, and the schemas of their parameters."""

import json
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from photochanger.adapters.rehearsal import RehearsalProvider
from photochanger.domain.errors import Problem, ValidationFailed
from photochanger.domain.operation import Operation, Parameter, ParameterValue
from photochanger.entrypoints import image_providers
from photochanger.entrypoints.image_providers import (
    check_variables,
    find_providers,
    parameter_schema,
    write_parameter_schemas,
)

CONTRACTS = Path(__file__).parents[3] / "contracts" / "slot-parameters"


def test_the_contract_holds_the_schema_of_every_operation(tmp_path: Path) -> None:
    write_parameter_schemas(find_providers({}), tmp_path)
    fresh = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    written = {path.name: path.read_text(encoding="utf-8") for path in CONTRACTS.iterdir()}
    assert fresh == written, "run: make contracts"
    assert "rehearsal.photo_effect.json" in fresh


def test_a_schema_that_no_operation_has_is_removed(tmp_path: Path) -> None:
    (tmp_path / "gone.paint.json").write_text("{}")
    write_parameter_schemas({}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_everything_that_providers_have_against_the_variables_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def complains_of(variable: str) -> Callable[[Mapping[str, str]], RehearsalProvider]:
        def factory(variables: Mapping[str, str]) -> RehearsalProvider:
            raise ValidationFailed([Problem(field=variable, code="invalid", message="no")])

        return factory

    class Installed(EntryPoint):
        def load(self) -> Any:
            return complains_of(self.value)

    found = [Installed("a", "A_URL", "g"), Installed("b", "B_URL", "g")]
    monkeypatch.setattr(image_providers, "entry_points", lambda group: found)

    with pytest.raises(ValidationFailed) as caught:
        find_providers({})

    assert [problem.field for problem in caught.value.problems] == ["A_URL", "B_URL"]


def test_a_start_is_refused_with_every_problem_at_once() -> None:
    with pytest.raises(ValidationFailed) as caught:
        check_variables({"WORKERS": "none", "GEMINI_BASE_URL": "http://gemini.example.org"})
    assert [problem.field for problem in caught.value.problems] == ["WORKERS", "GEMINI_BASE_URL"]
    check_variables({})


def test_the_readme_names_what_our_providers_read() -> None:
    class Asked(dict[str, str]):
        def get(self, name: str, default: object = None) -> Any:
            asked.add(name)
            return super().get(name, default)

    asked: set[str] = set()
    find_providers(Asked())

    readme = (CONTRACTS.parents[1] / "README.md").read_text(encoding="utf-8")
    assert asked >= {"GEMINI_API_KEY", "TURBOTEXT_API_KEY"}
    assert [name for name in asked if f"`{name}`" not in readme] == []


PARAMETERS = (
    Parameter(name="prompt", kind=str, description="", required=True, minimum=1, maximum=5),
    Parameter(name="size", kind=str, description="", choices=("1K", "2K"), default="1K"),
    Parameter(name="model", kind=str, description="", pattern="[a-z]{1,3}", retired={"old": "gone"}),
    Parameter(name="models", kind=tuple, description="", minimum=1, maximum=2, choices=("a", "b", "c")),
    Parameter(name="steps", kind=int, description="", minimum=0, maximum=3),
    Parameter(name="scale", kind=float, description="", minimum=0.5, maximum=2),
    Parameter(name="fast", kind=bool, description=""),
)
OPERATION = Operation(name="paint", display_name="Paint", parameters=PARAMETERS)
VALUES = st.one_of(
    st.sampled_from(["", "1K", "1k", "abc", "old", "ABC", "abcdef", True, False, 0, 1, 3, 4, 0.5, 2.5]),
    st.lists(st.sampled_from(["a", "b", "d"]), max_size=3).map(tuple),
)
PARAMS = st.dictionaries(
    st.sampled_from([parameter.name for parameter in PARAMETERS] + ["unknown"]), VALUES, max_size=4
)


@given(params=PARAMS, prompt=st.sampled_from(["", "fox", "a long prompt", None]))
def test_the_schema_and_the_validation_agree(params: dict[str, ParameterValue], prompt: str | None) -> None:
    if prompt is not None:
        params["prompt"] = prompt
    as_json = json.loads(json.dumps(params))

    says_schema = Draft202012Validator(parameter_schema(OPERATION)).is_valid(as_json)

    assert says_schema is (list(OPERATION.problems(params, (), "")) == [])


@pytest.mark.parametrize(
    "provider", find_providers({}).values(), ids=lambda provider: provider.description.name
)
def test_every_schema_is_one_and_takes_the_defaults(provider: Any) -> None:
    for operation in provider.description.operations:
        schema = parameter_schema(operation)
        Draft202012Validator.check_schema(schema)
        optional = {**schema, "required": []}
        defaults = json.loads(json.dumps(operation.with_defaults({})))
        Draft202012Validator(optional).validate(defaults)
