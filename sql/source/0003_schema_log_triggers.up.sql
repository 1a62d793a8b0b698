-- The event triggers that write the schema log.
--
-- A user's statement must neither fail nor wait because of them. So they read catalogs and sequences only (never a
-- table of ours), lock no relation that the statement has not locked itself, give up after a short lock_timeout,
-- and turn any error into a WARNING. They run with the rights of who initialised pgstream, under settings of
-- their own: whatever deparsing, planning or naming depends on is pinned.

-- A schema's tables as the log shows them. Built as text with one cast at the end: several times faster than
-- jsonb_build_object. `touched` are the tables that the running statement has locked already: only of those is the
-- expression of a generated column printed, because deparsing it takes a lock.
CREATE FUNCTION pgstream.describe_schema(namespace oid, touched oid[]) RETURNS jsonb
    LANGUAGE sql STABLE
AS $$
    WITH tables AS MATERIALIZED (
        SELECT c.oid, c.relname, pgstream.table_id(c.oid) AS id
          FROM pg_catalog.pg_class AS c
         WHERE c.relnamespace = namespace
           AND c.relkind IN ('r', 'p')
           AND c.relpersistence <> 't'
    ),
    keys AS MATERIALIZED (
        SELECT k.conrelid, k.contype, k.conkey
          FROM tables
          JOIN pg_catalog.pg_constraint AS k ON k.conrelid = tables.oid
         WHERE k.contype IN ('p', 'u')
    ),
    alone AS (
        SELECT DISTINCT conrelid, conkey[1] AS attnum FROM keys WHERE pg_catalog.cardinality(conkey) = 1
    ),
    primary_keys AS (
        SELECT keys.conrelid,
               pg_catalog.string_agg(pg_catalog.to_json(a.attname::text)::text, ',' ORDER BY part.position) AS names
          FROM keys
         CROSS JOIN LATERAL pg_catalog.unnest(keys.conkey) WITH ORDINALITY AS part(attnum, position)
          JOIN pg_catalog.pg_attribute AS a ON a.attrelid = keys.conrelid AND a.attnum = part.attnum
         WHERE keys.contype = 'p'
         GROUP BY keys.conrelid
    ),
    columns AS (
        SELECT a.attrelid,
               pg_catalog.string_agg(pg_catalog.concat(
                   '{"name":', pg_catalog.to_json(a.attname::text),
                   ',"type":', pg_catalog.to_json(pg_catalog.format_type(a.atttypid, a.atttypmod)),
                   ',"unique":', CASE WHEN alone.attnum IS NULL THEN 'false' ELSE 'true' END,
                   ',"default":', coalesce(pg_catalog.to_json(CASE
                       WHEN a.attgenerated = '' THEN pg_catalog.pg_get_expr(d.adbin, 0)
                       WHEN a.attrelid = ANY (touched) THEN pg_catalog.pg_get_expr(d.adbin, d.adrelid)
                   END)::text, 'null'),
                   ',"metadata":', coalesce(pg_catalog.to_json(note.description)::text, 'null'),
                   ',"nullable":', CASE WHEN a.attnotnull OR (t.typtype = 'd' AND t.typnotnull)
                                        THEN 'false' ELSE 'true' END,
                   ',"pgstream_id":"', tables.id, '-', a.attnum, '"}'
               ), ',' ORDER BY a.attnum) AS list
          FROM tables
          JOIN pg_catalog.pg_attribute AS a
            ON a.attrelid = tables.oid AND a.attnum > 0 AND NOT a.attisdropped
          JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
          LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
          LEFT JOIN pg_catalog.pg_description AS note
            ON note.objoid = a.attrelid
           AND note.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND note.objsubid = a.attnum
          LEFT JOIN alone ON alone.conrelid = a.attrelid AND alone.attnum = a.attnum
         GROUP BY a.attrelid
    )
    SELECT pg_catalog.concat('{"tables":[', pg_catalog.string_agg(pg_catalog.concat(
               '{"oid":"', tables.oid,
               '","name":', pg_catalog.to_json(tables.relname::text),
               ',"columns":[', columns.list,
               '],"pgstream_id":"', tables.id,
               '","primary_key_columns":[', primary_keys.names, ']}'
           ), ',' ORDER BY tables.relname), ']}')::jsonb
      FROM tables
      LEFT JOIN columns ON columns.attrelid = tables.oid
      LEFT JOIN primary_keys ON primary_keys.conrelid = tables.oid
$$;

-- What the running command created or altered: a table and its schema, or a whole schema (without a table). Tables
-- that inherit from an altered one change with it, and may lie in another schema; whether they are locked is not
-- known, so they are not `direct`. To be called from an event trigger only.
CREATE FUNCTION pgstream.changed_tables() RETURNS TABLE (relation oid, namespace name, direct boolean, created boolean)
    LANGUAGE sql VOLATILE
AS $$
    WITH RECURSIVE commands AS MATERIALIZED (
        SELECT classid, objid, object_type, command_tag
          FROM pg_catalog.pg_event_trigger_ddl_commands()
    ),
    family AS (
        SELECT commands.objid AS relation, true AS direct,
               commands.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO') AS created
          FROM commands
         WHERE commands.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
           AND (commands.object_type = 'table column'
                OR commands.object_type = 'table' AND commands.command_tag <> 'COMMENT')
        UNION
        SELECT i.inhrelid, false, false
          FROM family
          JOIN pg_catalog.pg_inherits AS i ON i.inhparent = family.relation
         WHERE NOT family.created
    )
    SELECT family.relation, n.nspname, family.direct, family.created
      FROM family
      JOIN pg_catalog.pg_class AS c ON c.oid = family.relation
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p')
       AND c.relpersistence <> 't'
    UNION ALL
    SELECT NULL, n.nspname, false, false
      FROM commands
      JOIN pg_catalog.pg_namespace AS n ON n.oid = commands.objid
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
    SELECT pg_catalog.array_agg(c.relation) FILTER (WHERE c.direct),
           pg_catalog.array_agg(DISTINCT c.namespace)
      INTO touched, changed
      FROM pgstream.changed_tables() AS c;

    IF tg_event = 'sql_drop' THEN
        -- By name: after DROP SCHEMA the namespace is gone. A command that also altered tables of a schema (ALTER
        -- TABLE ... DROP COLUMN) is logged at its end, once.
        SELECT pg_catalog.array_agg(DISTINCT d.schema_name::name)
          INTO changed
          FROM pg_catalog.pg_event_trigger_dropped_objects() AS d
         WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
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
    SELECT pg_catalog.nextval('pgstream.schema_log_version'), s.name,
           pgstream.describe_schema((SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = s.name), touched)
      FROM pg_catalog.unnest(changed) AS s(name)
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
