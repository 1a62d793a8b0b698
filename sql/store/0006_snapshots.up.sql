-- How far the reading of existing rows has come.

CREATE SEQUENCE pgstream.snapshot_runs;

-- The tables that a slot's program has read, reads, or is still to read.
CREATE TABLE pgstream.snapshot_tables (
    slot text NOT NULL,
    -- The backfill that it is read for; 0 if for whoever receives its rows.
    backfill bigint NOT NULL DEFAULT 0,
    -- In the source.
    oid bigint NOT NULL,
    -- Who a backfill is for.
    endpoint text CONSTRAINT snapshot_tables_endpoint CHECK ((endpoint IS NULL) = (backfill = 0)),
    schema_name text NOT NULL,
    table_name text NOT NULL,
    -- The names of the topmost partitioned table that it is a partition of.
    root text,
    state text NOT NULL DEFAULT 'pending'
        CONSTRAINT snapshot_tables_state CHECK (state IN ('pending', 'waiting', 'reading', 'done', 'cancelled', 'failed')),
    -- Whether it was planned before anything of the stream could have been sent to anyone.
    fresh boolean NOT NULL,
    -- Part of the ids of its rows, so that one read again has the id it had.
    run bigint NOT NULL,
    estimated_rows bigint NOT NULL,
    total_bytes bigint NOT NULL,
    read_rows bigint NOT NULL DEFAULT 0,
    read_bytes bigint NOT NULL DEFAULT 0,
    planned_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    -- Why it could not be read.
    problem text,
    PRIMARY KEY (slot, backfill, oid)
);

-- Backfills are asked for, and cancelled, by other programs than the one that reads: that one listens to this channel.
CREATE FUNCTION pgstream.notify_backfills() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('pgstream_backfills', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER snapshot_tables_requested
    AFTER INSERT ON pgstream.snapshot_tables
    FOR EACH ROW WHEN (NEW.backfill <> 0) EXECUTE FUNCTION pgstream.notify_backfills();
CREATE TRIGGER snapshot_tables_cancelled
    AFTER UPDATE ON pgstream.snapshot_tables
    FOR EACH ROW WHEN (NEW.state = 'cancelled' AND OLD.state <> 'cancelled') EXECUTE FUNCTION pgstream.notify_backfills();

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
    -- Whether it was never sent a change of the table before its rows. Its changes are held until it was sent these.
    fresh boolean NOT NULL DEFAULT false,
    -- The first snapshot that it was sent rows under: changes of transactions that this one sees are left out for it, up to
    -- a position that all of them are before. Null if it may have been sent changes before any row: nothing is left out.
    snapshot text,
    until_lsn pg_lsn,
    PRIMARY KEY (slot, oid, endpoint)
);

-- Whose changes of which table are held back while its rows are read for them.
CREATE TABLE pgstream.snapshot_holds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slot text NOT NULL,
    endpoint text NOT NULL,
    -- The table in the order of deliveries; 0 if it is all of them, for an endpoint that gets everything in one order.
    table_key bigint NOT NULL,
    -- What is committed from here on is held.
    from_lsn pg_lsn NOT NULL,
    UNIQUE (slot, endpoint, table_key)
);

-- The changes that are held, in the order of the stream.
CREATE TABLE pgstream.snapshot_held (
    hold bigint NOT NULL REFERENCES pgstream.snapshot_holds (id),
    seq bigint GENERATED ALWAYS AS IDENTITY,
    -- The transaction.
    xid bigint,
    webhook_id text NOT NULL,
    replay_run bigint NOT NULL,
    origin text NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    root_schema text,
    root_table text,
    action text NOT NULL,
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
    attempts integer NOT NULL,
    first_error text,
    last_error text,
    first_attempt_at timestamptz,
    last_attempt_at timestamptz,
    PRIMARY KEY (hold, seq),
    CONSTRAINT snapshot_held_once UNIQUE (hold, webhook_id, replay_run)
);
ALTER TABLE pgstream.snapshot_held ALTER COLUMN payload SET STORAGE EXTERNAL;
