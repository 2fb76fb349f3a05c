-- Photos that are sent twice are done once.

-- Whether the same photo, sent once more to the same version of the slot, gets this job. A job that fails stops
-- doing so with its end; one whose result has expired does when its photo comes again.
ALTER TABLE job ADD COLUMN answers_again boolean NOT NULL DEFAULT false;

CREATE UNIQUE INDEX job_of_a_photo ON job (slot_id, slot_version, content_hash) WHERE answers_again;
