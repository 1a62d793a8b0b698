-- How far the reading of existing rows has come.

CREATE SEQUENCE pgstream.snapshot_runs;

-- The tables that a slot's program has read, reads, or is still to read.
CREATE TABLE pgstream.snapshot_tables (
    slot text NOT NULL,
    -- In the source.
    oid bigint NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    -- The names of the topmost partitioned table that it is a partition of.
    root text,
    state text NOT NULL DEFAULT 'pending'
        CONSTRAINT snapshot_tables_state CHECK (state IN ('pending', 'waiting', 'reading', 'done')),
    -- Whether it was planned before anything of the stream could have been sent to anyone.
    fresh boolean NOT NULL,
    -- Part of the ids of its rows, so that one read again has the id it had.
    run bigint NOT NULL,
    estimated_rows bigint NOT NULL,
    total_bytes bigint NOT NULL,
    read_rows bigint NOT NULL DEFAULT 0,
    read_bytes bigint NOT NULL DEFAULT 0,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (slot, oid)
);

-- The slots that `init` has made, and whether their streams have ever been started: from then on, who has been sent which
-- changes is not known.
CREATE TABLE pgstream.snapshot_slots (
    slot text PRIMARY KEY,
    started boolean NOT NULL
);

-- In a database that is not new, some stream was.
INSERT INTO pgstream.snapshot_slots (slot, started)
SELECT '', true
 WHERE EXISTS (SELECT FROM pgstream.webhook_subscriptions) OR EXISTS (SELECT FROM pgstream.webhook_backlog_marks);

-- What is known of an endpoint that receives the rows of a table.
CREATE TABLE pgstream.snapshot_endpoints (
    slot text NOT NULL,
    oid bigint NOT NULL,
    endpoint text NOT NULL,
    -- The first snapshot that it was sent rows under: changes of transactions that this one sees are left out for it, up to
    -- a position that all of them are before. Null if it may have been sent changes before any row: nothing is left out.
    snapshot text,
    until_lsn pg_lsn,
    PRIMARY KEY (slot, oid, endpoint)
);
