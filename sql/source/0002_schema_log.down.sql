DROP TABLE IF EXISTS pgstream.table_ids;
DROP TABLE IF EXISTS pgstream.schema_log;
DROP SEQUENCE IF EXISTS pgstream.schema_log_version;
