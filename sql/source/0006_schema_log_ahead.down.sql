ALTER TABLE IF EXISTS pgstream.schema_log_tables DROP COLUMN IF EXISTS xid;
