-- How far the reading of existing rows has come.

CREATE SEQUENCE pgstream.snapshot_runs;

-- The tables that a slot's program has read, reads, or is still to read.
CREATE TABLE pgstream.snapshot_tables (
    slot text NOT NULL,
    -- In the source.
    oid bigint NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    state text NOT NULL DEFAULT 'pending'
        CONSTRAINT snapshot_tables_state CHECK (state IN ('pending', 'waiting', 'reading', 'done')),
    -- Part of the ids of its rows, so that one read again has the id it had.
    run bigint NOT NULL,
    -- Which transactions the snapshot sees that it was read under last, and a position that all of them are before.
    snapshot text,
    lsn pg_lsn,
    estimated_rows bigint NOT NULL,
    total_bytes bigint NOT NULL,
    read_rows bigint NOT NULL DEFAULT 0,
    read_bytes bigint NOT NULL DEFAULT 0,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (slot, oid)
);
