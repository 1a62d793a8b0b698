-- The schema log says of each entry which transaction wrote it, and its triggers wait for a locked catalog as any statement
-- does.

-- CREATE TABLE AS and SELECT INTO write their rows before their entry: whoever reads the stream looks for it by the
-- transaction's number. Entries from before have none, and are not looked for.
ALTER TABLE pgstream.schema_log_tables ADD COLUMN xid bigint;
ALTER TABLE pgstream.schema_log_tables ALTER COLUMN xid SET DEFAULT txid_current();
CREATE INDEX schema_log_tables_xid ON pgstream.schema_log_tables (xid);

-- As before, but for the locks. Of what is pgstream's own, one that does not come soon is a WARNING: nobody waits for us.
-- The catalogs, on the other hand, the statement itself reads as well, so that giving up while they are locked (VACUUM FULL
-- pg_class) would lose the entry and gain nothing.
CREATE OR REPLACE FUNCTION pgstream.log_schema_change() RETURNS event_trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '10s'
    SET DateStyle = 'ISO, MDY'
    SET IntervalStyle = 'postgres'
    SET TimeZone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = 'hex'
    SET quote_all_identifiers = off
    SET standard_conforming_strings = on
    SET jit = off
AS $$
DECLARE
    touched pgstream.touched_table[];
BEGIN
    IF lower(current_setting('pgstream.skip_log', true)) IN ('true', 'on', 'yes', '1') THEN
        RETURN;
    END IF;

    IF tg_event = 'sql_drop' THEN
        -- What the command also altered (ALTER TABLE ... DROP COLUMN) is logged at its end, once.
        SELECT array_agg(d)
          INTO touched
          FROM pgstream.dropped_tables() AS d
         WHERE d.relation NOT IN (SELECT a.relation FROM pgstream.altered_tables() AS a WHERE a.relation IS NOT NULL);
    ELSE
        SELECT array_agg(a) INTO touched FROM pgstream.altered_tables() AS a;
    END IF;
    IF touched IS NULL THEN
        RETURN;
    END IF;

    PERFORM set_config('lock_timeout', '50ms', true);
    LOCK TABLE pgstream.schema_log, pgstream.schema_log_tables, pgstream.table_ids IN ROW EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '10s', true);

    IF tg_event <> 'sql_drop' THEN
        INSERT INTO pgstream.table_ids (id, oid)
        SELECT pgstream.table_id(t.relation), t.relation
          FROM unnest(touched) AS t
         WHERE t.created AND t.schema_name <> 'pgstream'
            ON CONFLICT DO NOTHING;
    END IF;
    PERFORM pgstream.log_tables(touched, pgstream.schema_log_mode() = 'full');
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pgstream could not log this schema change: % (SQLSTATE %)', SQLERRM, SQLSTATE;
END
$$;
