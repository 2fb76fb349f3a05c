-- Slots, jobs, their files, and the settings.

CREATE TABLE slot (
    slot_id              text COLLATE "C" PRIMARY KEY CHECK (slot_id ~ '^slot-0(0[1-9]|1[0-5])$'),
    configuration        jsonb NOT NULL,
    ingest_password_hash text,
    version              integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    updated_at           timestamptz,
    updated_by           text
);

-- What is left out here has the domain's default; the slots are switched off until somebody sets them up.
INSERT INTO slot (slot_id, configuration)
SELECT format('slot-%s', lpad(number::text, 3, '0')),
       '{"call": {"provider": "rehearsal", "operation": "photo_effect"}}'
FROM generate_series(1, 15) AS number;

CREATE TABLE setting (
    is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    document   jsonb NOT NULL DEFAULT '{}',
    version    integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    updated_at timestamptz,
    updated_by text
);

INSERT INTO setting DEFAULT VALUES;

CREATE TABLE job (
    seq              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id           text COLLATE "C" NOT NULL UNIQUE CHECK (job_id ~ '^[0-9a-f]{32}$'),
    slot_id          text COLLATE "C" NOT NULL,
    slot_version     integer NOT NULL,
    configuration    jsonb NOT NULL,
    payload_id       text COLLATE "C" NOT NULL,
    content_hash     text COLLATE "C" NOT NULL,
    created_at       timestamptz NOT NULL,
    deadline         timestamptz NOT NULL,
    retention        interval NOT NULL,
    source           text COLLATE "C" NOT NULL,
    idempotency_key  text COLLATE "C",
    trace_context    text,
    state            text COLLATE "C" NOT NULL DEFAULT 'pending',
    fence            integer NOT NULL DEFAULT 0 CHECK (fence >= 0),
    lease_expires_at timestamptz,
    started_at       timestamptz,
    finalized_at     timestamptz,
    attempts         integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    failure_reason   text,
    result           jsonb,

    -- timestamptz + interval depends on the session's time zone and is not immutable; by way of UTC it is.
    result_expires_at timestamptz GENERATED ALWAYS AS (
        CASE WHEN state = 'completed'
             THEN (finalized_at AT TIME ZONE 'UTC' + retention) AT TIME ZONE 'UTC' END
    ) STORED,

    CONSTRAINT job_state_is_known CHECK (state IN (
        'pending', 'processing', 'completed',
        'failed_timeout', 'failed_provider', 'failed_internal', 'cancelled')),
    CONSTRAINT job_source_is_known CHECK (source IN ('booth', 'test')),
    CONSTRAINT job_lease_while_processing CHECK ((lease_expires_at IS NOT NULL) = (state = 'processing')),
    CONSTRAINT job_claimed_before_processing CHECK (
        state NOT IN ('processing', 'completed', 'failed_provider', 'failed_internal')
        OR (started_at IS NOT NULL AND fence > 0)),
    CONSTRAINT job_finalized_when_final CHECK (
        (finalized_at IS NOT NULL) = (state NOT IN ('pending', 'processing'))),
    CONSTRAINT job_result_when_completed CHECK ((result IS NOT NULL) = (state = 'completed')),
    CONSTRAINT job_reason_when_failed CHECK (
        (failure_reason IS NOT NULL) = (state NOT IN ('pending', 'processing', 'completed'))),
    CONSTRAINT job_times_in_order CHECK (
        started_at >= created_at AND finalized_at >= coalesce(started_at, created_at))
);

-- The queue: what a claim walks, however many old jobs there are, and however many are under way.
CREATE INDEX job_pending_by_seq ON job (seq) WHERE state = 'pending';

CREATE INDEX job_processing_by_lease ON job (lease_expires_at) WHERE state = 'processing';

CREATE INDEX job_unfinished_by_deadline ON job (deadline) WHERE state IN ('pending', 'processing');

CREATE UNIQUE INDEX job_idempotency_key ON job (slot_id, idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE media_object (
    media_id   text COLLATE "C" PRIMARY KEY CHECK (media_id ~ '^[0-9a-f]{32}$'),
    kind       text COLLATE "C" NOT NULL,
    slot_id    text COLLATE "C" NOT NULL,
    state      text COLLATE "C" NOT NULL DEFAULT 'pending',
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When the file is next offered for deletion: at its end, then again until the deletion is confirmed.
    offer_at   timestamptz NOT NULL,
    image_type text COLLATE "C",
    size_bytes bigint CHECK (size_bytes >= 0),
    sha256     text COLLATE "C",

    CONSTRAINT media_kind_is_known CHECK (kind IN ('payload', 'result', 'preview')),
    CONSTRAINT media_state_is_known CHECK (state IN ('pending', 'stored', 'deleting', 'deleted')),
    CONSTRAINT media_described_when_stored CHECK (
        state <> 'stored' OR (image_type IS NOT NULL AND size_bytes IS NOT NULL AND sha256 IS NOT NULL))
);

CREATE INDEX media_not_deleted_by_offer ON media_object (offer_at) WHERE state <> 'deleted';
