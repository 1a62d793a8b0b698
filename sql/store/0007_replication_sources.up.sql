-- What is remembered of a source, so that a later start can tell whether commits are missing.
CREATE TABLE pgstream.replication_sources (
    slot text PRIMARY KEY,
    system_identifier numeric NOT NULL,
    timeline bigint NOT NULL,
    -- Part of the ids of its changes; raised when a gap is accepted.
    epoch bigint NOT NULL,
    -- Everything up to here is settled.
    confirmed_lsn pg_lsn NOT NULL,
    -- Nothing beyond this is confirmed before it is raised.
    bound_lsn pg_lsn NOT NULL,
    -- The term of who wrote this last.
    term bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Counts the programs that have made the deliveries of this store, one after the other: who comes back after its connection
-- was lost sees whether another one was there meanwhile.
CREATE TABLE pgstream.webhook_terms (
    only_one boolean PRIMARY KEY DEFAULT true CONSTRAINT webhook_terms_only_one CHECK (only_one),
    term bigint NOT NULL
);
INSERT INTO pgstream.webhook_terms (term) VALUES (0);
