-- Whose media these are: the media store has a mark with the same id (photochanger.application.media_ownership).

CREATE TABLE installation (
    is_the_one      boolean PRIMARY KEY DEFAULT true CHECK (is_the_one),
    installation_id text COLLATE "C" NOT NULL DEFAULT replace(gen_random_uuid()::text, '-', '')
        CHECK (installation_id ~ '^[0-9a-f]{32}$'),
    media_marked_at timestamptz  -- from then on a store without a mark is not the right one
);

INSERT INTO installation DEFAULT VALUES;
