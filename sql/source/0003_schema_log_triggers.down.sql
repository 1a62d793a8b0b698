DROP EVENT TRIGGER IF EXISTS pgstream_log_drop;
DROP EVENT TRIGGER IF EXISTS pgstream_log_change;
DROP FUNCTION IF EXISTS pgstream.log_schema_change();
DROP FUNCTION IF EXISTS pgstream.changed_tables();
DROP FUNCTION IF EXISTS pgstream.describe_schema(oid, oid[]);
