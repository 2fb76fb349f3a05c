"""What the benchmarks are made of: figures of rounds, reports, the load, and the pins of the peers."""

import json
import re
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import peers
from benchmarks.__main__ import COMPARISONS
from benchmarks.chart import Bar, Panel, chart
from benchmarks.harness import Spread, percentile, wait_for
from benchmarks.peers.closed_loop import Loop
from benchmarks.report import OURS, Contestant, Figure, Goal, Report, Rounds
from benchmarks.sending import send

PHOTO = b"\xff\xd8" + bytes(2_000_000)
SVG = "{http://www.w3.org/2000/svg}"
RATE = Figure(key="rate", label="jobs a second", less_is_better=False)
LATE = Figure(key="late", label="late, ms")


@pytest.fixture
def rounds() -> Rounds:
    rounds = Rounds()
    for ours, quick, slow in ((40.0, 10.0, 5.0), (20.0, 10.0, 8.0), (60.0, 12.0, 9.0)):
        rounds.add(OURS, rate=ours, late=1.0)
        rounds.add("quick", rate=quick, late=9.0)
        rounds.add("slow", rate=slow, late=3.0)
    return rounds


def a_report(rounds: Rounds) -> Report:
    return Report(
        name="example",
        title="Jobs & <queues>",
        how="In one run.",
        contestants=[Contestant(name=name, what="as it is") for name in ("quick", "slow", OURS)],
        figures=[RATE, LATE],
        rounds=rounds,
        goals=[Goal(label="rate", reached=rounds.ratio(OURS, "quick", "rate"), bound=4, at_most=False)],
    )


def test_a_ratio_is_that_of_neighbours_in_a_round(rounds: Rounds) -> None:
    assert rounds.ratio(OURS, "quick", "rate") == Spread(median=4.0, least=2.0, most=5.0)


def test_the_best_is_who_is_best_by_that_figure(rounds: Rounds) -> None:
    assert rounds.best(["quick", "slow"], RATE) == "quick"
    assert rounds.best(["quick", "slow"], LATE) == "slow"


@pytest.mark.parametrize(
    ("median", "at_most", "is_reached"),
    [(0.5, True, True), (0.51, True, False), (0.5, False, True), (0.4, False, False)],
)
def test_a_goal_is_judged_by_the_median(median: float, at_most: bool, is_reached: bool) -> None:
    goal = Goal(label="", reached=Spread(median, 0.0, 9.0), bound=0.5, at_most=at_most)

    assert goal.is_reached is is_reached


def test_a_percentile_of_few_values_is_one_of_them() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0


def test_bars_are_as_long_as_their_medians_and_their_text_is_escaped() -> None:
    bars = [
        Bar(label="ours & theirs", spread=Spread(50.0, 40.0, 100.0), is_ours=True),
        Bar(label="theirs", spread=Spread(25.0, 20.0, 30.0)),
    ]

    svg = ET.fromstring(chart("Rates <1>", [Panel(title="rate", note="more is better", bars=bars)]))

    ground, ours, theirs = svg.findall(f"{SVG}rect")
    assert ground.get("fill") == "#ffffff"
    assert float(ours.get("width", 0)) == pytest.approx(2 * float(theirs.get("width", 0)))
    assert ours.get("fill") != theirs.get("fill")
    assert {"Rates <1>", "ours & theirs", "rate"} <= {text.text for text in svg.findall(f"{SVG}text")}


def test_a_report_is_written_three_times_and_names_no_machine(rounds: Rounds, tmp_path: Path) -> None:
    a_report(rounds).write(tmp_path)

    markdown, document, svg = (
        (tmp_path / f"example.{suffix}").read_text() for suffix in ("md", "json", "svg")
    )
    assert "| jobs a second | 10 (10–12) | 8 (5–9) | 40 (20–60) |" in markdown
    assert "| rate | ≥ 4 | 4 (2–5) | reached |" in markdown
    assert json.loads(document)["figures"][0]["rounds"][OURS] == [40.0, 20.0, 60.0]
    assert ET.fromstring(svg).tag == f"{SVG}svg"
    for text in (markdown, document, svg):
        assert socket.gethostname() not in text
        assert str(Path(__file__).parents[2]) not in text


@pytest.mark.parametrize("name", COMPARISONS)
def test_every_comparison_says_what_it_does_and_takes_options(name: str) -> None:
    module, parser = import_module(f"benchmarks.{name}"), ArgumentParser()

    module.arguments(parser)

    assert len((module.__doc__ or "").split()) > 50
    assert parser.format_help().count("\n  --") >= 1
    assert callable(module.run)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    picture = tmp_path_factory.mktemp("picture") / "picture.jpg"
    picture.write_bytes(PHOTO)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.upstream", str(port), str(picture)])
    try:
        wait_for(f"http://127.0.0.1:{port}/calls")
        yield port
    finally:
        process.terminate()
        process.wait()


def post(path: str, headers: str, body: bytes) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n".encode() + body


@pytest.mark.system
@pytest.mark.parametrize("path", ["/v1/images/edits", "/v1beta/models/any:generateContent"])
def test_the_load_sends_whole_requests_and_takes_whole_answers(service: int, path: str) -> None:
    whole = post(path, f"Content-Length: {len(PHOTO)}", PHOTO)
    in_chunks = post(path, "Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(PHOTO), PHOTO))

    sent = send(service, [whole, in_chunks], connections=3, total=10)

    assert [each.status for each in sent.exchanges] == [200] * 10
    assert all(each.size_bytes > len(PHOTO) * 4 / 3 for each in sent.exchanges)
    assert sent.failed() == 0
    assert sent.failed(expected=502) == 10


@pytest.mark.system
def test_a_connection_that_breaks_is_counted_as_failed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    # nobody listens there any more

    sent = send(port, [post("/", "Content-Length: 0", b"")], connections=2, total=5)

    assert [each.status for each in sent.exchanges] == [0] * 5


@pytest.mark.anyio
async def test_producers_of_a_closed_loop_wait_for_their_jobs() -> None:
    loop = Loop(producers=2, warm_up_sec=0.0, seconds=0.05)

    async def add(number: int) -> None:
        loop.begins(number)

    figures = json.loads(await loop.run(add))

    assert len(figures["latencies_ms"]) > 2
    assert figures["seconds"] == 0.05


def test_the_peers_are_pinned_with_hashes_and_without_an_index() -> None:
    for name in peers.PYTHON_PEERS:
        text = (peers.HERE / "requirements" / f"{name}.txt").read_text()
        requirements = re.split(r"\n(?=\S)", text)
        assert len(requirements) > 5
        assert all("==" in each and "--hash=sha256:" in each for each in requirements)
        assert "://" not in text
        assert "--index" not in text
    for name in peers.NODE_PEERS:
        lock = json.loads((peers.HERE / name / "package-lock.json").read_text())
        packages = {path: package for path, package in lock["packages"].items() if path}
        assert all("integrity" in package and "resolved" not in package for package in packages.values())


@pytest.mark.parametrize(("name", "package"), [("litellm", "litellm"), ("queues", "procrastinate")])
def test_the_pin_of_a_peer_is_what_reports_name(name: str, package: str) -> None:
    wanted = (peers.HERE / "requirements" / f"{name}.in").read_text()

    assert f"=={peers.pinned_version(name, package)}" in wanted


def test_a_peer_that_is_not_installed_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(peers.MissingPeerError, match="install-peers"):
        peers.python_of(tmp_path, "litellm")
