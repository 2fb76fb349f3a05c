"""Contradictions between records that no call of a port can bring about, and what looking for them costs."""

import pytest

from photochanger.adapters.postgres.pool import Pool
from photochanger.domain.consistency import Code
from photochanger.testing.harness import Records, a_completed_job, a_template

pytestmark = pytest.mark.anyio


async def found(records: Records) -> set[tuple[Code, str]]:
    discrepancies = await records.housekeeping.discrepancies(limit=10)
    return {(each.code, each.subject) for each in discrepancies}


async def test_a_photo_that_outlived_its_job(pool: Pool, records: Records) -> None:
    job = (await a_completed_job(records)).job
    await execute(
        pool,
        "UPDATE media_object SET state = 'stored', expires_at = now() + interval '1 day' WHERE media_id = %s",
        job.payload_id,
    )
    assert await found(records) == {(Code.PHOTO_LEFT, job.job_id)}


async def test_files_whose_job_or_template_is_not_there(pool: Pool, records: Records) -> None:
    job, template = (await a_completed_job(records)).job, await a_template(records)
    await records.media.confirm_deleted([media.media_id for media in await records.media.doomed(limit=9)])
    assert await found(records) == set()
    await execute(pool, "DELETE FROM job WHERE job_id = %s", job.job_id)
    await execute(pool, "DELETE FROM template WHERE template_id = %s", template.template_id)
    assert job.result is not None
    ids = [
        *(image.media_id for image in (job.result.image, job.result.preview)),
        *(image.media_id for image in (template.image, template.preview)),
    ]
    rows = await records.media.find(ids)
    assert await found(records) == {(Code.FILE_WITHOUT_OWNER, rows[media_id].key) for media_id in ids}


async def execute(pool: Pool, statement: str, *parameters: str) -> None:
    async with pool.connection() as connection:
        await connection.execute(statement.encode(), parameters)
