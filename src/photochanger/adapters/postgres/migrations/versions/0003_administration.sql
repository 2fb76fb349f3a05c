-- Sessions, the login throttle, the audit log, bound templates, and statistics.

CREATE TABLE session (
    session_id text COLLATE "C" PRIMARY KEY,
    username   text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX session_by_username ON session (username);
CREATE INDEX session_by_end ON session (expires_at);

-- An attempt counts from its beginning; `failures` are those of them that are decided. A row is nothing once
-- `ends_at` has come.
CREATE TABLE login_throttle (
    key      text COLLATE "C" PRIMARY KEY,
    attempts integer NOT NULL CHECK (attempts >= 0),
    failures integer NOT NULL DEFAULT 0 CHECK (failures BETWEEN 0 AND attempts),
    ends_at  timestamptz NOT NULL
);

CREATE INDEX login_throttle_by_end ON login_throttle (ends_at);

CREATE TABLE audit_event (
    event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    action   text COLLATE "C" NOT NULL,
    actor    text,
    origin   text NOT NULL,
    subject  text NOT NULL,
    changes  jsonb NOT NULL
);

CREATE INDEX audit_event_by_action ON audit_event (action, event_id);
CREATE INDEX audit_event_by_actor ON audit_event (actor, event_id);
CREATE INDEX audit_event_by_subject ON audit_event (subject, event_id);

CREATE FUNCTION refuse_to_change_the_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only ever added to' USING ERRCODE = 'insufficient_privilege';
END $$;

CREATE TRIGGER audit_event_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_the_audit_log();

-- A template's preview has no end either.
ALTER TABLE media_object
    DROP CONSTRAINT media_endless_when_template,
    ADD CONSTRAINT media_endless_when_template CHECK (
        expires_at IS NOT NULL OR (kind IN ('template', 'preview') AND state <> 'pending'));

-- Until now nothing could add a template.
ALTER TABLE template ADD COLUMN preview jsonb NOT NULL;

-- Which templates a slot binds: kept beside its configuration, so that no template is removed under it.
CREATE TABLE slot_template (
    slot_id     text COLLATE "C" NOT NULL REFERENCES slot,
    template_id text COLLATE "C" NOT NULL CONSTRAINT slot_template_is_there REFERENCES template,
    PRIMARY KEY (slot_id, template_id)
);

CREATE INDEX slot_template_by_template ON slot_template (template_id);

-- Lists of jobs. All of these hold final jobs only, so that a job costs each of them one insertion. The state is
-- in them so that jobs of other states are passed over without being read.
CREATE INDEX job_final_by_created ON job (created_at, job_id, state) WHERE finalized_at IS NOT NULL;
CREATE INDEX job_final_by_slot ON job (slot_id, created_at, job_id, state) WHERE finalized_at IS NOT NULL;
CREATE INDEX job_failed_by_created ON job (created_at, job_id, state)
    WHERE state IN ('failed_timeout', 'failed_provider', 'failed_internal', 'cancelled');
CREATE INDEX job_failed_by_slot ON job (slot_id, created_at, job_id, state)
    WHERE state IN ('failed_timeout', 'failed_provider', 'failed_internal', 'cancelled');
CREATE INDEX job_test_by_created ON job (created_at, job_id) WHERE finalized_at IS NOT NULL AND source = 'test';
CREATE INDEX job_result_by_slot ON job (slot_id, finalized_at, job_id, result_expires_at) WHERE result IS NOT NULL;

-- Statistics: booths' jobs one by one, for hours that are not added up yet.
CREATE INDEX job_booth_by_finalized ON job (finalized_at) INCLUDE (slot_id, state, created_at)
    WHERE finalized_at IS NOT NULL AND source = 'booth';

-- And the sums of quarter hours, hours, quarters of days and days. A row has all jobs of its time: rows for each
-- class of the histogram would be half as many as jobs. Its documents are json, and not jsonb, because they are
-- only ever read as wholes, by the thousand.
CREATE TABLE job_tally (
    length    interval NOT NULL,
    start     timestamptz NOT NULL,
    -- NULL: all slots together.
    slot_id   text COLLATE "C",
    -- How many were completed, by the class of the histogram (photochanger.domain.statistics).
    durations json NOT NULL,
    -- How many ended otherwise, by their state.
    others    json NOT NULL,
    CONSTRAINT job_tally_key UNIQUE NULLS NOT DISTINCT (length, start, slot_id)
);

CREATE TABLE job_tally_progress (
    is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    -- Everything that ended by then is added up; a full hour.
    until      timestamptz NOT NULL DEFAULT 'epoch'
);

INSERT INTO job_tally_progress DEFAULT VALUES;

-- For the sum of all sizes, in the order in which the rows lie.
CREATE INDEX media_stored_by_created ON media_object (created_at) INCLUDE (size_bytes) WHERE state = 'stored';
