-- What is not delivered any more, until an operator replays or discards it, or it is too old.

CREATE TABLE pgstream.webhook_dead_letters (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Null for a record that could not be read, and for a gap.
    endpoint text,
    webhook_id text NOT NULL,
    replay_run bigint NOT NULL DEFAULT 0,
    origin text NOT NULL,
    schema_name text,
    table_name text,
    root_schema text,
    root_table text,
    action text,
    table_key bigint,
    lane bigint,
    moved_to bigint,
    key_set bigint,
    source numeric NOT NULL,
    epoch bigint NOT NULL,
    commit_lsn pg_lsn NOT NULL,
    lsn pg_lsn NOT NULL,
    payload bytea NOT NULL,
    bytes bigint NOT NULL GENERATED ALWAYS AS (octet_length(payload)) STORED,
    attempts integer NOT NULL DEFAULT 0,
    first_error text,
    last_error text,
    first_attempt_at timestamptz,
    last_attempt_at timestamptz,
    reason text NOT NULL,
    died_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE UNIQUE INDEX webhook_dead_letters_once
    ON pgstream.webhook_dead_letters (endpoint, webhook_id, replay_run) WHERE endpoint IS NOT NULL;
CREATE UNIQUE INDEX webhook_dead_letters_raw_once
    ON pgstream.webhook_dead_letters (webhook_id) WHERE endpoint IS NULL;
CREATE INDEX webhook_dead_letters_died_at ON pgstream.webhook_dead_letters (died_at);
