-- Which entries of the schema log a running program has applied to what it reads from its slot, and where in the WAL
-- they were committed. Written before their transactions are confirmed, so that a program that starts at a position
-- knows again what was known there.

CREATE TABLE pgstream.schema_log_applied (
    slot text NOT NULL,
    schema_log_id pgstream.xid NOT NULL,
    commit_lsn pg_lsn NOT NULL,
    -- The commit LSN of the entry that has made this one superfluous: a start beyond it does without.
    superseded_at pg_lsn,
    PRIMARY KEY (slot, schema_log_id)
);

-- For the removal of entries that nobody needs.
CREATE INDEX schema_log_applied_entry ON pgstream.schema_log_applied (schema_log_id);
CREATE INDEX schema_log_applied_superseded ON pgstream.schema_log_applied (slot, superseded_at)
    WHERE superseded_at IS NOT NULL;
