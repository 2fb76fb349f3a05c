"""The contract holds: requests made up from `contracts/openapi.yaml`, thousands of them."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.system.contract import CONTRACT
from tests.system.office import Office

pytestmark = [pytest.mark.anyio, pytest.mark.system, pytest.mark.slow]

ROOT: Final = Path(__file__).parents[2]
CONFIGURATION: Final = Path(__file__).with_name("schemathesis.toml")
SEED: Final = int(os.environ.get("PHOTOCHANGER_CONTRACT_SEED", "20260114"))
CASES: Final = 5_000
"""So many requests at least, in both runs together."""


async def test_made_up_requests_find_nothing_that_the_contract_does_not_say(
    office: Office, tmp_path: Path
) -> None:
    authenticated, anonymous = await asyncio.gather(
        _fuzzed(office, tmp_path / "with a login", office.headers, examples=40),
        _fuzzed(office, tmp_path / "without", {}, examples=30),
    )

    counted = [run["test_cases"]["generated"] for run in (authenticated, anonymous)]
    print(f"seed {SEED}: {counted[0]} cases with a login and {counted[1]} without")  # noqa: T201
    for run in (authenticated, anonymous):
        assert (run["failures"], run["errors"], run["complete"]) == ([], [], True)
        assert run["operations"]["tested"] == run["operations"]["total"]
    assert sum(counted) >= CASES


async def test_a_contract_that_does_not_say_the_truth_is_found_out(office: Office, tmp_path: Path) -> None:
    contract = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))
    operations = contract["paths"]
    del operations["/api/jobs/{job_id}"]["get"]["responses"]["404"]
    operations["/livez"]["get"]["security"] = [{"bearer": []}]
    operations["/api/login"]["post"]["responses"]["415"]["content"] = {"text/html": {}}
    contract["components"]["schemas"]["Me"]["properties"]["username"]["type"] = "integer"
    contract["paths"] = {
        path: operations[path] for path in ("/api/jobs/{job_id}", "/api/login", "/api/me", "/livez")
    }
    lying = tmp_path / "lying.yaml"
    lying.write_text(yaml.safe_dump(contract), encoding="utf-8")

    run = await _fuzzed(office, tmp_path / "run", office.headers, examples=5, contract=lying)

    found = {(failure["type"], *failure["operations"]) for failure in run["failures"]}
    assert found == {
        ("UndefinedStatusCode", "GET /api/jobs/{job_id}"),
        ("UndefinedContentType", "POST /api/login"),
        ("JsonSchemaError", "GET /api/me"),
        ("IgnoredAuth", "GET /livez"),
        ("MissingHeaderNotRejected", "GET /livez"),
    }


async def _fuzzed(
    office: Office, folder: Path, headers: Mapping[str, str], *, examples: int, contract: Path = CONTRACT
) -> dict[str, Any]:
    """Run Schemathesis, and return its report; what it finds is printed."""
    folder.mkdir()
    report = folder / "report.json"
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIGURATION)),
        *("run", str(contract), "--url", office.server.base_url, "--no-color"),
        *("--seed", str(SEED), "--max-examples", str(examples), "--continue-on-failure"),
        *("--report", "json,ndjson", "--report-json-path", str(report)),
        *(part for name, value in headers.items() for part in ("--header", f"{name}: {value}")),
    ]
    output = await _output_of(
        command,
        folder,
        {
            "EXPENDABLE_TOKEN": office.expendable_token if headers else "nobody's",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            "SCHEMATHESIS_HOOKS": "tests.system.schemathesis_hooks",
        },
    )
    print(output)  # noqa: T201
    found: dict[str, Any] = json.loads(report.read_text())
    return found


async def _output_of(command: Sequence[str], folder: Path, variables: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()
