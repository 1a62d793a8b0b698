-- What could not be delivered yet, in the order in which it is to be. Whoever appends locks the endpoint's row of
-- webhook_backlog_marks first, so that the order of seq is the order of the commits.

-- Up to here everything of the stream was delivered to the endpoint or written to its backlog.
CREATE TABLE pgstream.webhook_backlog_marks (
    endpoint text PRIMARY KEY,
    source numeric,
    epoch bigint,
    commit_lsn pg_lsn,
    lsn pg_lsn
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE TABLE pgstream.webhook_backlog (
    endpoint text NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    webhook_id text NOT NULL,
    -- Which run of a replay it belongs to; 0 if to none.
    replay_run bigint NOT NULL DEFAULT 0,
    origin text NOT NULL CONSTRAINT webhook_backlog_origin CHECK (origin IN ('stream', 'snapshot', 'replay', 'move')),
    schema_name text NOT NULL,
    table_name text NOT NULL,
    root_schema text,
    root_table text,
    action text NOT NULL,
    -- Its place in the order; no lane means the whole table.
    table_key bigint NOT NULL,
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
    appended_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (endpoint, seq),
    CONSTRAINT webhook_backlog_once UNIQUE (endpoint, webhook_id, replay_run)
) WITH (
    -- Rows come and go all the time: cleaned up by their number, however large the table is, and without pauses.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_scale_factor = 0,
    autovacuum_vacuum_insert_threshold = 100000,
    autovacuum_vacuum_cost_delay = 0
);

-- Compressing costs more than it saves for rows that live for minutes.
ALTER TABLE pgstream.webhook_backlog ALTER COLUMN payload SET STORAGE EXTERNAL;
