-- The sweeper's turn, and indexes for comparing files with rows and for forgetting.

-- Whose turn it is to sweep, and when somebody last did it to the end.
CREATE TABLE sweeper (
    is_the_one       boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    holder           text COLLATE "C",
    lease_expires_at timestamptz,
    swept_at         timestamptz,
    compared_at      timestamptz,
    CONSTRAINT sweeper_lease_while_held CHECK ((holder IS NULL) = (lease_expires_at IS NULL))
);

INSERT INTO sweeper DEFAULT VALUES;

-- The order of the files' keys, for the comparison with the media store; as an expression, so that no
-- statement takes it for an index of ids.
CREATE INDEX media_living_by_key ON media_object ((kind || '/' || media_id)) WHERE state <> 'deleted';

-- Tombstones, by the time from which their age counts.
CREATE INDEX media_deleted_by_created ON media_object (created_at) WHERE state = 'deleted';
