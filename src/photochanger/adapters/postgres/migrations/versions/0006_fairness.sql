-- Photos that are sent twice are done once, and jobs are counted by their provider.

-- Whether the same photo, sent once more to the same version of the slot, gets this job. A job that fails stops
-- doing so with its end; one whose result has expired does when its photo comes again.
ALTER TABLE job ADD COLUMN answers_again boolean NOT NULL DEFAULT false;

CREATE UNIQUE INDEX job_of_a_photo ON job (slot_id, slot_version, content_hash) WHERE answers_again;

-- The provider that the job counts for while it is under way, or that it waits for a place at. A job that is final
-- keeps the last; of jobs that were final before there was this column it is not known.
ALTER TABLE job
    ADD COLUMN provider text COLLATE "C" NOT NULL DEFAULT '',
    ADD COLUMN waits_for_place boolean NOT NULL DEFAULT false;

UPDATE job SET provider = coalesce(configuration #>> '{call,provider}', '') WHERE state IN ('pending', 'processing');

-- The queue: for each slot and provider the jobs in the order of their submission. A claim looks at the first of
-- each that has a free place, however many wait behind them, and for one that has none.
DROP INDEX job_pending_by_seq;

CREATE INDEX job_pending_by_place ON job (slot_id, provider, seq) WHERE state = 'pending';
