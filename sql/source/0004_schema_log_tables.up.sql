-- The schema log says of each entry which tables its command touched or dropped, follows every statement that changes
-- a table's shape, and can be kept small.
--
-- What 0003 says of the triggers holds here as well: they read catalogs only, take no lock that the statement does not
-- have already, and turn any error into a WARNING.

-- Which tables an entry is about. Its snapshot knows nothing of tables that another open transaction creates in the same
-- schema, so whoever applies entries one after the other applies just these. Written before the entry, in the same
-- transaction. Never read here: it would give SERIALIZABLE sessions failures.
CREATE TABLE pgstream.schema_log_tables (
    schema_log_id pgstream.xid NOT NULL,
    table_id text NOT NULL,
    schema_name text NOT NULL,
    table_name text NOT NULL,
    dropped boolean NOT NULL,
    PRIMARY KEY (schema_log_id, table_id)
);

-- What an entry holds: 'full' is all tables of the schema, 'changed' those that the command touched. A function, since
-- the triggers read no table; `pgstream init --schema-log` replaces it.
CREATE FUNCTION pgstream.schema_log_mode() RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$ SELECT 'full'::text $$;

-- A table that a command touched or dropped. Without a relation: its schema was touched, whatever it holds.
CREATE TYPE pgstream.touched_table AS (
    relation oid,
    schema_name name,
    table_name name,
    -- Whether the command holds a lock that keeps others from altering the table.
    locked boolean,
    created boolean,
    dropped boolean
);

-- The tables as the log shows them. Built as text with one cast at the end: several times faster than
-- jsonb_build_object. Everything about a table is looked up through its OID, with sequential scans ruled out, so that
-- the cost follows the number of tables asked for, whatever the size of the catalogs and the age of their statistics.
--
-- Only of `locked` tables is the expression of a generated column printed, because deparsing it takes a lock.
CREATE FUNCTION pgstream.describe_tables(relations oid[], locked oid[]) RETURNS jsonb
    LANGUAGE plpgsql STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
AS $$
BEGIN
    RETURN (
    SELECT concat('{"tables":[', string_agg(concat(
               '{"oid":"', tables.oid,
               '","name":', to_json(tables.relname::text),
               ',"columns":[', (
                   SELECT string_agg(concat(
                              '{"name":', to_json(a.attname::text),
                              ',"type":', to_json(format_type(a.atttypid, a.atttypmod)),
                              ',"unique":', CASE WHEN a.attnum = ANY (keys.alone) THEN 'true' ELSE 'false' END,
                              ',"default":', CASE WHEN a.atthasdef THEN coalesce((
                                  SELECT to_json(CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, 0)
                                                      WHEN a.attrelid = ANY (locked) THEN pg_get_expr(d.adbin, d.adrelid)
                                                 END)::text
                                    FROM pg_attrdef AS d
                                   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum
                              ), 'null') ELSE 'null' END,
                              ',"metadata":', CASE WHEN tables.described THEN coalesce((
                                  SELECT to_json(note.description)::text
                                    FROM pg_description AS note
                                   WHERE note.objoid = a.attrelid AND note.objsubid = a.attnum
                                     AND note.classoid = 'pg_class'::regclass
                              ), 'null') ELSE 'null' END,
                              ',"nullable":', CASE WHEN a.attnotnull OR (
                                  SELECT t.typtype = 'd' AND t.typnotnull FROM pg_type AS t WHERE t.oid = a.atttypid
                              ) THEN 'false' ELSE 'true' END,
                              ',"pgstream_id":"', tables.id, '-', a.attnum, '"}'
                          ), ',' ORDER BY a.attnum)
                     FROM pg_attribute AS a
                    WHERE a.attrelid = tables.oid AND a.attnum > 0 AND NOT a.attisdropped
               ),
               '],"pgstream_id":"', tables.id,
               '","primary_key_columns":[', (
                   SELECT string_agg(to_json(a.attname::text)::text, ',' ORDER BY array_position(keys.main, a.attnum))
                     FROM pg_attribute AS a
                    WHERE a.attrelid = tables.oid AND a.attnum = ANY (keys.main)
               ), ']}'
           ), ',' ORDER BY tables.relname), ']}')::jsonb
      FROM (SELECT c.oid, c.relname, pgstream.table_id(c.oid) AS id,
                   EXISTS (SELECT FROM pg_description AS note
                            WHERE note.objoid = c.oid AND note.classoid = 'pg_class'::regclass AND note.objsubid > 0
                   ) AS described
              FROM unnest(relations) AS asked(oid)
              JOIN pg_class AS c ON c.oid = asked.oid
            OFFSET 0) AS tables
     CROSS JOIN LATERAL (
            SELECT (SELECT k.conkey FROM pg_constraint AS k WHERE k.conrelid = tables.oid AND k.contype = 'p') AS main,
                   ARRAY (SELECT i.indkey[0]
                            FROM pg_index AS i
                           WHERE i.indrelid = tables.oid AND i.indisunique AND i.indisvalid AND i.indnkeyatts = 1
                             AND i.indpred IS NULL
                   ) AS alone
            OFFSET 0) AS keys);
END
$$;

-- The tables of a schema of which the log tells.
CREATE FUNCTION pgstream.tables_of(namespace oid) RETURNS oid[]
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(c.oid)
      FROM pg_class AS c
     WHERE c.relnamespace = namespace AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
$$;

-- The relations that this transaction has locked in a way in which no other can alter them.
CREATE FUNCTION pgstream.locked_relations() RETURNS SETOF oid
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT relation
      FROM pg_locks
     WHERE locktype = 'relation' AND pid = pg_backend_pid() AND granted
       AND mode IN ('ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
                    'AccessExclusiveLock')
$$;

-- What the running command created or altered. Tables that inherit from an altered one change with it, and may lie in
-- another schema; those that do have been locked by the command. To be called from an event trigger only.
CREATE FUNCTION pgstream.altered_tables() RETURNS SETOF pgstream.touched_table
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH RECURSIVE commands AS MATERIALIZED (
        SELECT classid, objid, object_type, command_tag
          FROM pg_event_trigger_ddl_commands()
    ),
    family AS (
        SELECT c.objid AS relation, true AS direct,
               c.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') AS created
          FROM commands AS c
         WHERE c.classid = 'pg_class'::regclass
           AND (c.object_type = 'table column' OR c.object_type = 'table' AND c.command_tag <> 'COMMENT')
        UNION
        SELECT i.indrelid, true, false
          FROM commands AS c
          JOIN pg_index AS i ON i.indexrelid = c.objid
         WHERE c.command_tag = 'CREATE INDEX' AND c.classid = 'pg_class'::regclass AND i.indisunique
        UNION
        -- ALTER TYPE ... CASCADE alters the tables of that type.
        SELECT t.oid, false, false
          FROM commands AS c
          JOIN pg_class AS t ON t.reloftype <> 0
         WHERE c.command_tag = 'ALTER TYPE'
        UNION
        SELECT i.inhrelid, false, false
          FROM family
          JOIN pg_inherits AS i ON i.inhparent = family.relation
         WHERE NOT family.created
    )
    SELECT c.oid, n.nspname, c.relname, true, bool_or(f.created), false
      FROM family AS f
      JOIN pg_class AS c ON c.oid = f.relation
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p')
       AND c.relpersistence <> 't'
       AND (f.direct OR f.relation IN (SELECT pgstream.locked_relations()))
     GROUP BY c.oid, n.nspname, c.relname
    UNION ALL
    SELECT t.oid, n.nspname, t.relname, false, false, false
      FROM commands AS c
      JOIN pg_namespace AS n ON n.oid = c.objid
      LEFT JOIN pg_class AS t ON t.oid = ANY (pgstream.tables_of(n.oid))
     WHERE c.classid = 'pg_namespace'::regclass AND c.command_tag = 'ALTER SCHEMA';
END
$$;

-- What the running command dropped, and the tables that stay and lost something by it: a column, a default or an index.
-- To be called from a trigger on sql_drop only.
CREATE FUNCTION pgstream.dropped_tables() RETURNS SETOF pgstream.touched_table
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY
    WITH objects AS MATERIALIZED (
        SELECT classid, objid, objsubid, object_type, schema_name::name, object_name::name, address_names
          FROM pg_event_trigger_dropped_objects()
         WHERE NOT is_temporary
    ),
    reduced AS (
        SELECT o.objid AS relation
          FROM objects AS o
         WHERE o.classid = 'pg_class'::regclass AND o.object_type = 'table column'
        UNION
        SELECT c.oid
          FROM objects AS o
          JOIN pg_namespace AS n ON n.nspname = o.address_names[1]
          JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = o.address_names[2]
         WHERE o.object_type = 'default value'
        UNION
        -- Nothing says whose index it was, but that table has been locked.
        SELECT c.oid
          FROM pgstream.locked_relations() AS l(oid)
          JOIN pg_class AS c ON c.oid = l.oid
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE n.nspname IN (SELECT o.schema_name FROM objects AS o WHERE o.object_type = 'index')
    )
    SELECT o.objid, o.schema_name, o.object_name, true, false, true
      FROM objects AS o
     WHERE o.classid = 'pg_class'::regclass AND o.object_type = 'table' AND o.objsubid = 0
    UNION ALL
    SELECT c.oid, n.nspname, c.relname, true, false, false
      FROM reduced
      JOIN pg_class AS c ON c.oid = reduced.relation
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p')
       AND c.relpersistence <> 't';
END
$$;

-- Writes one entry for each schema of these tables. `whole` is an entry of all tables of the schema.
CREATE FUNCTION pgstream.log_tables(touched pgstream.touched_table[], whole boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    named name;
    entry pgstream.xid;
    shown oid[];
    locked oid[];
BEGIN
    FOR named IN
        SELECT DISTINCT t.schema_name
          FROM unnest(touched) AS t
         WHERE t.schema_name <> 'pgstream' AND t.schema_name !~ '^pg_'
         ORDER BY t.schema_name
    LOOP
        entry := pgstream.xid();
        INSERT INTO pgstream.schema_log_tables (schema_log_id, table_id, schema_name, table_name, dropped)
        SELECT entry, pgstream.table_id(t.relation), named, t.table_name, t.dropped
          FROM unnest(touched) AS t
         WHERE t.schema_name = named AND t.relation IS NOT NULL;

        SELECT array_agg(t.relation), array_agg(t.relation) FILTER (WHERE t.locked)
          INTO shown, locked
          FROM unnest(touched) AS t
         WHERE t.schema_name = named AND NOT t.dropped;
        IF whole THEN
            -- By name: after DROP SCHEMA the namespace is gone.
            shown := pgstream.tables_of((SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = named));
        END IF;
        INSERT INTO pgstream.schema_log (id, version, schema_name, schema)
        VALUES (entry, nextval('pgstream.schema_log_version'), named, pgstream.describe_tables(shown, locked));
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION pgstream.log_schema_change() RETURNS event_trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '50ms'
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
        INSERT INTO pgstream.table_ids (id, oid)
        SELECT pgstream.table_id(t.relation), t.relation
          FROM unnest(touched) AS t
         WHERE t.created AND t.schema_name <> 'pgstream'
            ON CONFLICT DO NOTHING;
    END IF;
    IF touched IS NOT NULL THEN
        PERFORM pgstream.log_tables(touched, pgstream.schema_log_mode() = 'full');
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pgstream could not log this schema change: % (SQLSTATE %)', SQLERRM, SQLSTATE;
END
$$;

DROP FUNCTION pgstream.changed_tables();
DROP FUNCTION pgstream.describe_schema(oid, oid[]);

-- Logs the present state of a schema, all its tables, in either mode. For one whose changes were not logged: because
-- pgstream.skip_log was on, or a warning said so. It waits for open changes of the tables, and changes made later wait for
-- this transaction, so that the entry has its place among the others.
CREATE FUNCTION pgstream.refresh_schema(name text) RETURNS bigint
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET DateStyle = 'ISO, MDY'
    SET IntervalStyle = 'postgres'
    SET TimeZone = 'UTC'
    SET extra_float_digits = 1
    SET bytea_output = 'hex'
    SET quote_all_identifiers = off
    SET standard_conforming_strings = on
AS $$
DECLARE
    namespace oid := (SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = refresh_schema.name);
    relation oid;
    seen oid[] := '{}';
    version bigint;
BEGIN
    IF namespace IS NULL THEN
        RAISE EXCEPTION 'there is no schema %', name USING ERRCODE = 'invalid_schema_name';
    ELSIF name = 'pgstream' OR name ~ '^pg_' THEN
        RAISE EXCEPTION 'the schema % is not logged', name USING ERRCODE = 'invalid_parameter_value';
    ELSIF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'a transaction of isolation level % does not see the present state of a schema',
                        current_setting('transaction_isolation')
              USING HINT = 'Call pgstream.refresh_schema in a READ COMMITTED transaction.',
                    ERRCODE = 'invalid_transaction_state';
    END IF;
    -- Until there is none that is not locked: while one is waited for, others may come.
    LOOP
        relation := (SELECT min(t.oid) FROM unnest(pgstream.tables_of(namespace)) AS t(oid) WHERE t.oid <> ALL (seen));
        EXIT WHEN relation IS NULL;
        seen := seen || relation;
        BEGIN
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE', relation::regclass);
        EXCEPTION WHEN undefined_table OR invalid_schema_name OR syntax_error THEN
            -- It is gone, or has another name by now, and is looked up again with that.
            IF EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relnamespace = namespace) THEN
                seen := array_remove(seen, relation);
            END IF;
        END;
    END LOOP;
    INSERT INTO pgstream.table_ids (id, oid)
    SELECT pgstream.table_id(t.oid), t.oid
      FROM unnest(pgstream.tables_of(namespace)) AS t(oid)
        ON CONFLICT DO NOTHING;
    PERFORM pgstream.log_tables((
        SELECT coalesce(array_agg((c.oid, refresh_schema.name, c.relname, true, false, false)::pgstream.touched_table),
                        ARRAY [(NULL, refresh_schema.name, NULL, false, false, false)::pgstream.touched_table])
          FROM pg_class AS c
         WHERE c.oid = ANY (pgstream.tables_of(namespace))), true);
    SELECT currval('pgstream.schema_log_version') INTO version;
    RETURN version;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgstream FROM PUBLIC;

DROP EVENT TRIGGER pgstream_log_change;

-- Only commands that can create or alter a table; ALTER INDEX can rename one.
CREATE EVENT TRIGGER pgstream_log_change ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'ALTER INDEX', 'CREATE INDEX',
                 'CREATE SCHEMA', 'ALTER SCHEMA', 'ALTER TYPE', 'COMMENT')
    EXECUTE FUNCTION pgstream.log_schema_change();
