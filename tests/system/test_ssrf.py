"""Where Turbotext says its result is, we do not go unless it is Turbotext.

`ssrf_scenario.py` runs in a network namespace in which every address, of whatever kind, is this machine: a
connection to any of them would be made, and is seen.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from tests.system.ssrf_scenario import CONTROLS, CONTROLS_V6, PUBLIC, TARGETS

pytestmark = pytest.mark.system

ROOT: Final = Path(__file__).parents[2]
EVERY_ADDRESS_IS_LOCAL: Final = """
ip link set lo up && ip route add local 0.0.0.0/0 dev lo && { ip -6 route add local ::/0 dev lo || true; }
exec "$@"
"""
BAD_ADDRESS: Final = "ProviderError True Turbotext named a bad address for its picture"


def in_a_network_of_its_own(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a fresh network namespace; as root there, whoever we are here."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    shell = ["sh", "-c", EVERY_ADDRESS_IS_LOCAL, "sh", *command]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(
        unshare + shell, capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=600
    )


def why_not() -> str | None:
    """Return why there can be no such network here; None where there can."""
    for program in ("unshare", "ip"):
        if shutil.which(program) is None:
            return f"the program {program} is missing (Debian: util-linux, iproute2)"
    tried = in_a_network_of_its_own("true")
    return f"no network namespace can be made: {tried.stderr.strip()}" if tried.returncode else None


@pytest.fixture(scope="module")
def told() -> Mapping[str, Any]:
    """Return what the scenario tells."""
    if reason := why_not():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    done = in_a_network_of_its_own(sys.executable, "-m", "tests.system.ssrf_scenario")
    assert done.returncode == 0, done.stderr
    result: Mapping[str, Any] = json.loads(done.stdout)
    return result


def test_no_packet_reaches_any_target(told: Mapping[str, Any]) -> None:
    assert len(TARGETS) >= 40
    assert list(told["targets"]) == list(TARGETS)
    nowhere: dict[str, Any] = {"outcome": BAD_ADDRESS, "seen": [], "taken": []}
    at_most_public = nowhere | {"seen": [PUBLIC], "taken": [PUBLIC]}
    expected = {url: at_most_public if "//inside-last." in url else nowhere for url in TARGETS}
    assert told["targets"] == expected


def test_a_name_that_is_bound_anew_leads_nowhere(told: Mapping[str, Any]) -> None:
    assert told["rebinding"]["first"] == [[PUBLIC], [PUBLIC]], "its first address was not even tried"
    assert told["rebinding"]["then"] == {"outcome": BAD_ADDRESS, "seen": [], "taken": []}


def test_no_redirect_is_followed(told: Mapping[str, Any]) -> None:
    assert told["redirected"]["outcome"].startswith("ProviderError True ")
    assert (told["redirected"]["seen"], told["redirected"]["taken"]) == ([], [])


def test_where_the_result_belongs_it_is_got(told: Mapping[str, Any]) -> None:
    assert told["allowed"] == {"outcome": "a picture", "seen": [], "taken": []}


def test_a_client_without_a_guard_would_have_been_seen(told: Mapping[str, Any]) -> None:
    expected = {url: {"seen": [address], "taken": [address]} for url, address in CONTROLS + CONTROLS_V6}
    assert told["controls"].keys() >= dict(CONTROLS).keys()
    assert told["controls"] == {url: expected[url] for url in told["controls"]}
