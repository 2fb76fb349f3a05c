-- The rate at which photos come in, who can do how many jobs, and an index of what is being sent.

-- The theoretical arrival time of the next photo (photochanger.domain.rate): the whole state of the rate.
CREATE TABLE ingest_rate (
    is_the_one boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    tat        timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 10);  -- changed with every photo: new versions stay on the same page

INSERT INTO ingest_rate DEFAULT VALUES;

-- Processes that do jobs tell so from time to time.
CREATE TABLE worker_process (
    process_id text COLLATE "C" PRIMARY KEY,
    places     integer NOT NULL CHECK (places >= 0),
    expires_at timestamptz NOT NULL
);

-- Photos that are being sent.
CREATE INDEX media_payload_on_its_way ON media_object (expires_at) WHERE kind = 'payload' AND state = 'pending';
