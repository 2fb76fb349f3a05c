"""A slot with more results than one statement ends."""

import asyncio

import pytest

from photochanger.adapters.postgres import jobs
from photochanger.application.ports import EndedResults
from photochanger.testing.harness import A_SLOT, Records, a_completed_job, an_entry, entries, present

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("results", [0, 1, 2, 4, 5])
async def test_all_are_ended_with_one_entry(
    records: Records, monkeypatch: pytest.MonkeyPatch, results: int
) -> None:
    monkeypatch.setattr(jobs, "RESULTS_AT_ONCE", 2)
    readings = [await a_completed_job(records) for _ in range(results)]
    pictures = [reading.job.result for reading in readings if reading.job.result is not None]
    size_bytes = sum(each.image.file.size_bytes + each.preview.file.size_bytes for each in pictures)

    ended = await records.jobs.end_results(A_SLOT, entry=an_entry(subject=A_SLOT))

    assert ended == EndedResults(results, size_bytes)
    for reading in await asyncio.gather(*(present(records, reading) for reading in readings)):
        assert reading.job.result_expires_at is not None
        assert reading.job.result_expires_at <= reading.now
    assert [entry.subject for entry in await entries(records)] == [A_SLOT]
