-- Provider links, templates, quotas, and the stand-ins of failed jobs.

-- A failed job may have a result now: the booth's own photo. The expression of a generated column cannot be
-- changed before PostgreSQL 17, so the column is made anew.
ALTER TABLE job
    DROP CONSTRAINT job_result_when_completed,
    DROP COLUMN result_expires_at;

ALTER TABLE job
    ADD COLUMN result_expires_at timestamptz GENERATED ALWAYS AS (
        CASE WHEN result IS NOT NULL
             THEN (finalized_at AT TIME ZONE 'UTC' + retention) AT TIME ZONE 'UTC' END
    ) STORED,
    ADD CONSTRAINT job_result_fits_state CHECK (CASE
        WHEN state = 'completed'
            THEN result IS NOT NULL AND result ->> 'source' IS DISTINCT FROM 'original'
        WHEN state IN ('failed_provider', 'failed_internal')
            THEN result IS NULL OR result ->> 'source' IS NOT DISTINCT FROM 'original'
        ELSE result IS NULL END);

-- A stored template has no end, and is never offered for deletion until it is condemned.
ALTER TABLE media_object
    DROP CONSTRAINT media_kind_is_known,
    ADD CONSTRAINT media_kind_is_known CHECK (
        kind IN ('payload', 'result', 'preview', 'provider_link', 'template')),
    ALTER COLUMN slot_id DROP NOT NULL,
    ALTER COLUMN expires_at DROP NOT NULL,
    ALTER COLUMN offer_at DROP NOT NULL,
    ADD COLUMN fetched_at timestamptz,
    ADD CONSTRAINT media_endless_when_template CHECK (
        expires_at IS NOT NULL OR (kind = 'template' AND state <> 'pending')),
    ADD CONSTRAINT media_offered_unless_endless CHECK (
        offer_at IS NOT NULL OR (expires_at IS NULL AND state = 'stored')),
    ADD CONSTRAINT media_fetched_when_link CHECK (fetched_at IS NULL OR kind = 'provider_link');

-- The image is described here as well as in its media row, which knows nothing of width and height.
CREATE TABLE template (
    template_id text COLLATE "C" PRIMARY KEY CHECK (template_id ~ '^[0-9a-f]{32}$'),
    name        text NOT NULL,
    image       jsonb NOT NULL,
    created_at  timestamptz NOT NULL,
    created_by  text NOT NULL
);

-- One row for each provider. What was counted belongs to the minute and the day (UTC) of `counted_at`, and is
-- nothing once these are over. So both windows are judged and changed under one lock, and nothing grows old.
CREATE TABLE provider_usage (
    provider   text COLLATE "C" PRIMARY KEY,
    counted_at timestamptz NOT NULL DEFAULT 'epoch',
    in_minute  integer NOT NULL DEFAULT 0 CHECK (in_minute >= 0),
    on_day     integer NOT NULL DEFAULT 0 CHECK (on_day >= in_minute),
    -- Until when the last call found no room; NULL where it was let in.
    full_until timestamptz
);
