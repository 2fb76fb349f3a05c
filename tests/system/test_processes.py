"""Several processes on one database: killed, stopped, and working hand in hand."""

import asyncio
import json
import signal
import statistics
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from photochanger.domain.job import JobState
from photochanger.domain.quota import Quota
from photochanger.entrypoints.cli.booth import Delivery, Refusal
from photochanger.testing.photos import plain_jpeg
from tests.system.installation import Installation, eventually, states

pytestmark = [pytest.mark.anyio, pytest.mark.system]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(plain_jpeg())
    return path


async def test_after_kill_9_every_job_is_final_or_taken_up_again(
    installation: Installation, photo: Path
) -> None:
    await installation.set_up({"effect": "none", "delay_ms": 3000}, timeout_sec=12)
    server = installation.serve(workers=2)
    sending = [asyncio.create_task(installation.send(server, photo)) for _ in range(6)]

    async def some_wait_while_some_are_done() -> bool:
        found = states(await installation.jobs())
        return {JobState.PENDING, JobState.PROCESSING} <= found

    await eventually(some_wait_while_some_are_done)
    server.kill()
    await asyncio.gather(*sending, return_exceptions=True)
    accepted = await installation.jobs()
    restarted = installation.serve(workers=2)

    async def all_final() -> bool:
        return all(job.is_finalized for job in await installation.jobs())

    await eventually(all_final)
    jobs = await installation.jobs()
    assert [job.job_id for job in jobs] == [job.job_id for job in accepted]
    assert states(jobs) <= {JobState.COMPLETED, JobState.FAILED_TIMEOUT}
    assert JobState.COMPLETED in states(jobs)

    async def nothing_left() -> bool:
        return not await installation.leftovers()

    await eventually(nothing_left)
    assert await installation.discrepancies() == []
    assert restarted.stop() == 0


async def test_an_upload_that_is_killed_half_way_leaves_nothing(
    installation: Installation, tmp_path: Path
) -> None:
    await installation.set_up({"effect": "none"}, timeout_sec=10)
    server = installation.serve()
    host, port = "127.0.0.1", int(server.base_url.rpartition(":")[2])
    _, writer = await asyncio.open_connection(host, port)
    boundary = "x" * 36
    writer.write(
        f"POST /ingest/slot-001?key=correct-horse HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9000000\r\n"
        f"Content-Type: multipart/form-data; boundary={boundary}\r\n\r\n--{boundary}\r\n"
        'Content-Disposition: form-data; name="fileToUpload"; filename="a.jpg"\r\n\r\n'.encode()
        + plain_jpeg()[:50_000]
    )
    await writer.drain()

    async def has_a_row() -> bool:
        return bool(await installation.leftovers())

    await eventually(has_a_row)
    server.kill()
    writer.close()
    installation.serve()

    async def nothing_left() -> bool:
        return not await installation.leftovers()

    await eventually(nothing_left, within_sec=40)
    assert await installation.discrepancies() == []
    assert await installation.jobs() == []


async def test_a_request_held_here_is_served_by_a_worker_there_and_woken_by_signal(
    installation: Installation, photo: Path
) -> None:
    await installation.set_up({"effect": "none"})
    servers = [installation.serve("--no-worker") for _ in range(2)]
    for _ in range(2):
        installation.worker(workers=2)
    await asyncio.gather(*(installation.send(server, photo) for server in servers))

    deliveries = []
    for round_number in range(20):
        delivery = await installation.send(servers[round_number % 2], photo)
        assert isinstance(delivery, Delivery)
        deliveries.append(delivery)

    jobs = (await installation.jobs())[2:]
    waits = [(job.started_at - job.created_at).total_seconds() for job in jobs if job.started_at]
    # A poll of one second would make half of the waits longer than half a second.
    assert statistics.median(waits) < 0.1
    assert statistics.median(delivery.total_sec for delivery in deliveries) < 0.5
    assert {job.state for job in jobs} == {JobState.COMPLETED}


async def test_a_hundred_requests_held_to_their_deadline_each_get_a_504(
    installation: Installation, photo: Path
) -> None:
    await installation.set_up({"outcome": "hang"}, timeout_sec=10, max_concurrency=100)
    server = installation.serve(workers=100)

    answers = await asyncio.gather(*(installation.send(server, photo) for _ in range(100)))

    assert {answer.status for answer in answers if isinstance(answer, Refusal)} == {504}
    assert {answer.error.code for answer in answers if isinstance(answer, Refusal)} == {"timeout"}

    async def all_final() -> bool:
        return all(job.is_finalized for job in await installation.jobs())

    await eventually(all_final)  # an answer does not wait for a database that is slower than the deadline
    jobs = await installation.jobs()
    assert len(jobs) == 100
    assert states(jobs) == {JobState.FAILED_TIMEOUT}
    assert {job.failure_reason for job in jobs} == {"timeout"}
    assert all(job.finalized_at and job.finalized_at >= job.deadline for job in jobs)
    assert server.exit_status is None

    async def nothing_left() -> bool:
        return not await installation.leftovers()

    await eventually(nothing_left, within_sec=60)
    assert await installation.discrepancies() == []


async def test_a_504_is_never_early(installation: Installation, photo: Path) -> None:
    await installation.set_up({"outcome": "hang"}, timeout_sec=2)
    server = installation.serve()

    async def held() -> float:
        began = time.monotonic()
        answer = await installation.send(server, photo)
        assert isinstance(answer, Refusal)
        assert answer.status == 504
        return time.monotonic() - began

    durations = await asyncio.gather(*(held() for _ in range(20)))

    assert min(durations) >= 2
    assert statistics.median(durations) < 2.5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_who_is_asked_to_end_answers_what_is_held_first(
    installation: Installation, photo: Path, number: signal.Signals
) -> None:
    await installation.set_up({"effect": "none", "delay_ms": 1500})
    server = installation.serve()
    sending = asyncio.create_task(installation.send(server, photo))

    async def processing() -> bool:
        return JobState.PROCESSING in states(await installation.jobs())

    await eventually(processing)
    server.send_signal(number)

    assert isinstance(await sending, Delivery)
    assert await asyncio.to_thread(server.wait) == 0


async def test_a_second_sigterm_waits_for_nothing(installation: Installation, photo: Path) -> None:
    await installation.set_up({"outcome": "hang"}, timeout_sec=30)
    server = installation.serve()
    sending = asyncio.create_task(installation.send(server, photo))

    async def processing() -> bool:
        return JobState.PROCESSING in states(await installation.jobs())

    await eventually(processing)
    server.send_signal(signal.SIGTERM)

    async def refuses() -> bool:
        return "Waiting for connections to close" in server.log_path.read_text()

    await eventually(refuses)
    server.send_signal(signal.SIGTERM)

    assert await asyncio.to_thread(server.wait) == 130
    await asyncio.gather(sending, return_exceptions=True)
    [job] = await installation.jobs()
    assert job.state is JobState.PENDING


async def test_a_worker_that_is_stopped_hands_its_job_to_another(
    installation: Installation, photo: Path
) -> None:
    await installation.set_up({"effect": "none", "delay_ms": 4000})
    server = installation.serve("--no-worker")
    first = installation.worker()
    sending = asyncio.create_task(installation.send(server, photo))

    async def processing() -> bool:
        return JobState.PROCESSING in states(await installation.jobs())

    await eventually(processing)
    first.kill()
    installation.worker()

    assert isinstance(await sending, Delivery)
    [job] = await installation.jobs()
    assert job.fence == 2


async def test_a_trace_goes_from_the_request_through_the_queue_to_the_provider(
    installation: Installation, photo: Path
) -> None:
    await installation.set_up({"effect": "none"})
    server = installation.serve(variables={"OTEL_TRACES_EXPORTER": "console"})
    assert isinstance(await installation.send(server, photo), Delivery)
    server.stop()

    spans = installation.spans()
    [of_provider] = [span for span in spans if span["name"] == "ImageProvider.transform"]
    trace = {span["name"] for span in spans if span["trace_id"] == of_provider["trace_id"]}
    assert {"job", "JobRepository.submit", "JobRepository.finalize", "ImageEditor.prepare"} <= trace
    assert any(name.startswith("POST") for name in trace)


async def test_logs_carry_the_ids_and_no_secret(installation: Installation, photo: Path) -> None:
    await installation.set_up({"effect": "none"})
    server = installation.serve()
    await installation.send(server, photo)
    await installation.send(server, photo, password="wrong-canary-9f3")
    server.stop()

    lines = [json.loads(line) for line in server.log_path.read_text().splitlines() if line.startswith("{")]
    [job] = await installation.jobs()
    of_the_job = [line for line in lines if line.get("job_id") == job.job_id]
    assert {line.get("trace_id") for line in of_the_job if line["event"] == "job ended"} != {None}
    text = installation.logs()
    for secret in ("correct-horse", "wrong-canary-9f3", "photochanger-send", "send.xml"):
        assert secret not in text


async def test_quotas_are_counted_across_processes_and_shown_by_each(installation: Installation) -> None:
    async with installation.container() as container:
        assert await container.usage().take("rehearsal", Quota()) is None
    servers = [installation.serve() for _ in range(2)]

    async def every_server_shows_the_call() -> bool:
        line = 'photochanger_provider_quota_used{provider="rehearsal",window="day"} 1.0'
        pages = [await asyncio.to_thread(_metrics, server.base_url) for server in servers]
        return all(line in page for page in pages)

    await eventually(every_server_shows_the_call)


def _metrics(base_url: str) -> str:
    with urlopen(f"{base_url}/metrics", timeout=10) as answer:
        page: bytes = answer.read()
    return page.decode()
