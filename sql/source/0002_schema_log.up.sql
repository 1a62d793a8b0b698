-- The log of schema changes. Written by the event triggers only.

CREATE TABLE pgstream.schema_log (
    id pgstream.xid PRIMARY KEY DEFAULT pgstream.xid(),
    version bigint NOT NULL,
    schema_name text NOT NULL,
    schema jsonb NOT NULL,
    created_at timestamp without time zone NOT NULL DEFAULT now(),
    acked boolean NOT NULL DEFAULT false
);

CREATE UNIQUE INDEX schema_log_version_uniq ON pgstream.schema_log (schema_name, version);
CREATE INDEX schema_log_name_acked ON pgstream.schema_log (schema_name, acked, id);

-- Where versions come from: a sequence never waits for another transaction, as a count of rows would have to.
CREATE SEQUENCE pgstream.schema_log_version AS bigint;

-- The ids given to tables, for people and tools that look one up. Whoever creates a table inserts its row, and no
-- two open transactions can have created the same OID, so the key never makes anyone wait.
CREATE TABLE pgstream.table_ids (
    id pgstream.xid PRIMARY KEY,
    oid oid NOT NULL
);
