DROP EVENT TRIGGER IF EXISTS pgstream_log_change;
DROP EVENT TRIGGER IF EXISTS pgstream_log_drop;
DROP FUNCTION IF EXISTS pgstream.dropped_tables(text);
DROP FUNCTION IF EXISTS pgstream.is_outdated(oid);
