-- The event triggers that write the schema log.
--
-- A user's statement must neither fail nor wait because of them. So they read catalogs and sequences only (never a
-- table of ours), lock no relation that the statement has not locked itself, give up after a short lock_timeout,
-- and turn any error into a WARNING. They run with the rights of who initialised pgstream, under settings of
-- their own: whatever deparsing, planning or naming depends on is pinned.

-- A schema's tables as the log shows them. Built as text with one cast at the end: several times faster than
-- jsonb_build_object. Everything about a table is looked up through its OID in subqueries, so that the cost follows
-- the tables of this schema, whatever the size of the catalogs and the age of their statistics.
--
-- `touched` are the tables that the running statement has locked already. Only of those is the expression of a
-- generated column printed, because deparsing it takes a lock.
CREATE FUNCTION pgstream.describe_schema(namespace oid, touched oid[]) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT concat('{"tables":[', string_agg(concat(
               '{"oid":"', tables.oid,
               '","name":', to_json(tables.relname::text),
               ',"columns":[', (
                   SELECT string_agg(concat(
                              '{"name":', to_json(a.attname::text),
                              ',"type":', to_json(format_type(a.atttypid, a.atttypmod)),
                              ',"unique":', CASE WHEN a.attnum = ANY (keys.alone) THEN 'true' ELSE 'false' END,
                              ',"default":', coalesce(to_json(CASE WHEN a.atthasdef THEN (
                                  SELECT CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, 0)
                                              WHEN a.attrelid = ANY (touched) THEN pg_get_expr(d.adbin, d.adrelid)
                                         END
                                    FROM pg_attrdef AS d
                                   WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum
                              ) END)::text, 'null'),
                              ',"metadata":', coalesce((
                                  SELECT to_json(note.description)::text
                                    FROM pg_description AS note
                                   WHERE note.objoid = a.attrelid AND note.objsubid = a.attnum
                                     AND note.classoid = 'pg_class'::regclass
                              ), 'null'),
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
      FROM (SELECT c.oid, c.relname, pgstream.table_id(c.oid) AS id
              FROM pg_class AS c
             WHERE c.relnamespace = namespace
               AND c.relkind IN ('r', 'p')
               AND c.relpersistence <> 't'
            OFFSET 0) AS tables
     CROSS JOIN LATERAL (
            SELECT (SELECT k.conkey FROM pg_constraint AS k WHERE k.conrelid = tables.oid AND k.contype = 'p') AS main,
                   ARRAY (SELECT k.conkey[1]
                            FROM pg_constraint AS k
                           WHERE k.conrelid = tables.oid AND k.contype IN ('p', 'u') AND cardinality(k.conkey) = 1
                   ) AS alone
            OFFSET 0) AS keys
$$;

-- What the running command created or altered: a table and its schema, or a whole schema (without a table). Tables
-- that inherit from an altered one change with it, and may lie in another schema; whether they are locked is not
-- known, so they are not `direct`. To be called from an event trigger only.
CREATE FUNCTION pgstream.changed_tables() RETURNS TABLE (relation oid, namespace name, direct boolean, created boolean)
    LANGUAGE sql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE commands AS MATERIALIZED (
        SELECT classid, objid, object_type, command_tag
          FROM pg_event_trigger_ddl_commands()
    ),
    family AS (
        SELECT commands.objid AS relation, true AS direct,
               commands.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') AS created
          FROM commands
         WHERE commands.classid = 'pg_class'::regclass
           AND (commands.object_type = 'table column'
                OR commands.object_type = 'table' AND commands.command_tag <> 'COMMENT')
        UNION
        SELECT i.inhrelid, false, false
          FROM family
          JOIN pg_inherits AS i ON i.inhparent = family.relation
         WHERE NOT family.created
    )
    SELECT family.relation, n.nspname, family.direct, family.created
      FROM family
      JOIN pg_class AS c ON c.oid = family.relation
      JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p')
       AND c.relpersistence <> 't'
    UNION ALL
    SELECT NULL, n.nspname, false, false
      FROM commands
      JOIN pg_namespace AS n ON n.oid = commands.objid
     WHERE commands.object_type = 'schema'
       AND commands.command_tag = 'ALTER SCHEMA'
$$;

CREATE FUNCTION pgstream.log_schema_change() RETURNS event_trigger
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
    touched oid[];
    changed name[];
BEGIN
    SELECT array_agg(c.relation) FILTER (WHERE c.direct),
           array_agg(DISTINCT c.namespace)
      INTO touched, changed
      FROM pgstream.changed_tables() AS c;

    IF tg_event = 'sql_drop' THEN
        -- By name: after DROP SCHEMA the namespace is gone. A command that also altered tables of a schema (ALTER
        -- TABLE ... DROP COLUMN) is logged at its end, once.
        SELECT array_agg(DISTINCT d.schema_name::name)
          INTO changed
          FROM pg_event_trigger_dropped_objects() AS d
         WHERE d.classid = 'pg_class'::regclass
           AND d.object_type IN ('table', 'table column')
           AND NOT d.is_temporary
           AND d.schema_name <> ALL (coalesce(changed, '{}'));
    ELSE
        INSERT INTO pgstream.table_ids (id, oid)
        SELECT pgstream.table_id(c.relation), c.relation
          FROM pgstream.changed_tables() AS c
         WHERE c.created AND c.namespace <> 'pgstream'
            ON CONFLICT DO NOTHING;
    END IF;

    INSERT INTO pgstream.schema_log (version, schema_name, schema)
    SELECT nextval('pgstream.schema_log_version'), s.name,
           pgstream.describe_schema((SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = s.name), touched)
      FROM unnest(changed) AS s(name)
     WHERE s.name <> 'pgstream' AND s.name !~ '^pg_'
     ORDER BY s.name;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pgstream could not log this schema change: % (SQLSTATE %)', SQLERRM, SQLSTATE;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgstream FROM PUBLIC;

-- Only commands that can create or alter a table; ALTER INDEX can rename one.
CREATE EVENT TRIGGER pgstream_log_change ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE', 'ALTER INDEX', 'CREATE SCHEMA',
                 'ALTER SCHEMA', 'COMMENT')
    EXECUTE FUNCTION pgstream.log_schema_change();

-- Whatever drops a table or a column, by cascade too (DROP TYPE, DROP EXTENSION, DROP OWNED).
CREATE EVENT TRIGGER pgstream_log_drop ON sql_drop
    EXECUTE FUNCTION pgstream.log_schema_change();
