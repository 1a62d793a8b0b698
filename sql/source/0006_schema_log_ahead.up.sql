-- The schema log says of each entry which transaction wrote it and which tables that made, its triggers wait for a
-- locked catalog as any statement does, and cost less.

-- The triggers of before would meet a type that they do not know.
SET LOCAL pgstream.skip_log = 'TRUE';

-- What an entry says of each table that it touches. The transaction and `created` are there because CREATE TABLE AS and
-- SELECT INTO write their rows before their entry: whoever reads the stream looks for it. Entries from before have neither
-- and are not looked for.
ALTER TABLE pgstream.schema_log_tables
    ADD COLUMN xid bigint,
    ADD COLUMN created boolean NOT NULL DEFAULT false;
ALTER TABLE pgstream.schema_log_tables ALTER COLUMN xid SET DEFAULT txid_current();
CREATE INDEX schema_log_tables_xid ON pgstream.schema_log_tables (xid);

-- Cutting off empty pages takes a lock that the triggers would not wait for.
ALTER TABLE pgstream.schema_log SET (vacuum_truncate = off, toast.vacuum_truncate = off);
ALTER TABLE pgstream.schema_log_tables SET (vacuum_truncate = off);
ALTER TABLE pgstream.table_ids SET (vacuum_truncate = off);

-- Whether the transaction sees an older state of the table than the command has worked on: then its entry goes without it.
ALTER TYPE pgstream.touched_table ADD ATTRIBUTE outdated boolean;

-- As before, in a language whose plans are kept for the session, and digit by digit.
CREATE OR REPLACE FUNCTION pgstream.xid() RETURNS pgstream.xid
    LANGUAGE plpgsql VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    machine bigint := pgstream.machine()::integer;
    -- The upper and the lower 50 of the 100 bits that the digits show.
    high bigint := ((floor(EXTRACT(epoch FROM clock_timestamp()))::bigint & 4294967295) << 18) | (machine >> 6);
    low bigint := ((machine & 63) << 44) | ((pg_backend_pid() & 65535)::bigint << 28)
                  | (nextval('pgstream.xid_counter') << 4);
BEGIN
    RETURN substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 45) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 40) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 35) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 30) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 25) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 20) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 15) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 10) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((high >> 5) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + (high & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 45) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 40) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 35) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 30) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 25) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 20) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 15) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 10) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + ((low >> 5) & 31)::integer, 1)
        || substr('0123456789abcdefghijklmnopqrstuv', 1 + (low & 31)::integer, 1);
END
$$;

-- Whether the transaction's snapshot shows this table as it is. Only that of READ COMMITTED is always new enough: others
-- may alter the table after a REPEATABLE READ transaction began and before that alters it. Names and columns are compared
-- with what the server itself has of them.
CREATE FUNCTION pgstream.is_outdated(relation oid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    current record;
    columns text[];
BEGIN
    IF current_setting('transaction_isolation') = 'read committed' THEN
        RETURN false;
    END IF;
    SELECT i.schema, i.name INTO current FROM pg_identify_object('pg_class'::regclass, relation, 0) AS i;
    EXECUTE format(
        'SELECT array_agg(keys.name ORDER BY keys.place)
           FROM (SELECT row_to_json(r) AS columns FROM (SELECT (NULL::%s).*) AS r) AS one
          CROSS JOIN LATERAL json_object_keys(one.columns) WITH ORDINALITY AS keys(name, place)', relation::regclass)
       INTO columns;
    RETURN NOT EXISTS (
        SELECT FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.oid = relation
           AND quote_ident(n.nspname) = current.schema AND quote_ident(c.relname) = current.name
           AND columns IS NOT DISTINCT FROM (
               SELECT array_agg(a.attname::text ORDER BY a.attnum)
                 FROM pg_attribute AS a
                WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped))
        -- One that was dropped and made anew has its name and another number.
        OR EXISTS (
        SELECT FROM pg_attribute AS a
         CROSS JOIN LATERAL pg_identify_object_as_address('pg_class'::regclass, relation, a.attnum) AS i
         WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped
           AND i.object_names[3] IS DISTINCT FROM a.attname::text);
END
$$;

-- What the running command created or altered. Tables that inherit from an altered one change with it, and may lie in
-- another schema; those that do have been locked by the command. To be called from an event trigger only.
CREATE OR REPLACE FUNCTION pgstream.altered_tables() RETURNS SETOF pgstream.touched_table
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    direct oid[];
    created oid[];
    indexes oid[];
    types oid[];
    renamed oid[];
    family oid[];
    level oid[];
    relation oid;
BEGIN
    SELECT array_agg(c.objid) FILTER (WHERE c.classid = 'pg_class'::regclass AND (
               c.object_type = 'table column' OR c.object_type = 'table' AND c.command_tag <> 'COMMENT')),
           array_agg(c.objid) FILTER (WHERE c.classid = 'pg_class'::regclass AND c.object_type = 'table'
               AND c.command_tag IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')),
           array_agg(c.objid) FILTER (WHERE c.classid = 'pg_class'::regclass AND c.command_tag = 'CREATE INDEX'),
           array_agg(c.objid) FILTER (WHERE c.command_tag = 'ALTER TYPE'),
           array_agg(c.objid) FILTER (WHERE c.classid = 'pg_namespace'::regclass AND c.command_tag = 'ALTER SCHEMA')
      INTO direct, created, indexes, types, renamed
      FROM pg_event_trigger_ddl_commands() AS c;

    -- ALTER TYPE ... CASCADE alters the tables of that type.
    IF types IS NOT NULL THEN
        direct := direct || ARRAY (
            SELECT d.objid
              FROM pg_depend AS d
             WHERE d.refclassid = 'pg_type'::regclass
               AND d.refobjid IN (SELECT unnest(types) UNION SELECT c.reltype FROM pg_class AS c WHERE c.oid = ANY (types))
               AND d.classid = 'pg_class'::regclass AND d.objsubid = 0
               AND d.objid IN (SELECT pgstream.locked_relations()));
    END IF;

    -- An index that comes with its table needs no look. One that is built concurrently has left the table unlocked: it is
    -- locked anew, or, where another has it, described by that other.
    IF indexes IS NOT NULL AND created IS NULL THEN
        FOR relation IN
            SELECT i.indrelid
              FROM pg_index AS i
             WHERE i.indexrelid = ANY (indexes) AND i.indisunique AND i.indrelid <> ALL (coalesce(direct, '{}'))
        LOOP
            IF relation NOT IN (SELECT pgstream.locked_relations()) THEN
                BEGIN
                    EXECUTE format('LOCK TABLE ONLY %s IN ACCESS SHARE MODE NOWAIT', relation::regclass);
                EXCEPTION WHEN lock_not_available OR undefined_table OR invalid_schema_name OR syntax_error THEN
                    CONTINUE;
                END;
            END IF;
            direct := direct || relation;
        END LOOP;
    END IF;

    IF direct IS NOT NULL THEN
        family := direct;
        level := ARRAY (SELECT unnest(direct) EXCEPT SELECT unnest(created));
        WHILE level <> '{}' LOOP
            level := ARRAY (SELECT i.inhrelid FROM pg_inherits AS i
                             WHERE i.inhparent = ANY (level) AND i.inhrelid <> ALL (family));
            IF level <> '{}' THEN
                level := ARRAY (SELECT l FROM unnest(level) AS l INTERSECT SELECT pgstream.locked_relations());
                family := family || level;
            END IF;
        END LOOP;
        IF current_setting('transaction_isolation') = 'read committed' THEN
            RETURN QUERY
            SELECT c.oid, n.nspname, c.relname, true, c.oid = ANY (created) IS TRUE, false, false
              FROM pg_class AS c
              JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.oid = ANY (family) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't';
        ELSE
            -- An old snapshot may show none of it, or two versions of one table.
            RETURN QUERY
            SELECT f.oid, (parse_ident(i.schema, false))[1]::name, (parse_ident(i.name, false))[1]::name, true,
                   f.oid = ANY (created) IS TRUE, false, pgstream.is_outdated(f.oid)
              FROM (SELECT DISTINCT unnest(family)) AS f(oid)
             CROSS JOIN LATERAL pg_identify_object('pg_class'::regclass, f.oid, 0) AS i
             WHERE i.type = 'table' AND i.schema !~ '^pg_';
        END IF;
    END IF;

    IF renamed IS NOT NULL THEN
        RETURN QUERY
        SELECT t.oid, n.nspname, t.relname, false, false, false, false
          FROM pg_namespace AS n
          LEFT JOIN pg_class AS t ON t.oid = ANY (pgstream.tables_of(n.oid))
         WHERE n.oid = ANY (renamed);
    END IF;
END
$$;

-- What the running command dropped, and the tables that stay and lost something by it: a column, a default or an index.
-- To be called from a trigger on sql_drop only, with the tag of the command.
CREATE FUNCTION pgstream.dropped_tables(tag text) RETURNS SETOF pgstream.touched_table
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    reduced oid[];
    of_indexes name[];
    has_tables boolean;
BEGIN
    SELECT array_agg(o.objid) FILTER (WHERE o.classid = 'pg_class'::regclass AND o.object_type = 'table column'),
           array_agg(o.schema_name) FILTER (WHERE o.object_type = 'index'),
           bool_or(o.object_type IN ('table', 'default value'))
      INTO reduced, of_indexes, has_tables
      FROM pg_event_trigger_dropped_objects() AS o
     WHERE NOT o.is_temporary;

    -- Nothing says whose index it was, but that table has been locked. With its table or constraint it is another's matter.
    IF of_indexes IS NOT NULL AND tag NOT IN ('ALTER TABLE', 'DROP TABLE') THEN
        reduced := reduced || ARRAY (
            SELECT c.oid
              FROM pgstream.locked_relations() AS l(oid)
              JOIN pg_class AS c ON c.oid = l.oid
              JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE n.nspname = ANY (of_indexes));
    END IF;
    IF has_tables THEN
        reduced := reduced || ARRAY (
            SELECT c.oid
              FROM pg_event_trigger_dropped_objects() AS o
              JOIN pg_namespace AS n ON n.nspname = o.address_names[1]
              JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = o.address_names[2]
             WHERE NOT o.is_temporary AND o.object_type = 'default value');
        RETURN QUERY
        SELECT o.objid, o.schema_name::name, o.object_name::name, true, false, true, false
          FROM pg_event_trigger_dropped_objects() AS o
         WHERE NOT o.is_temporary
           AND o.classid = 'pg_class'::regclass AND o.object_type = 'table' AND o.objsubid = 0;
    END IF;
    IF reduced IS NOT NULL THEN
        RETURN QUERY
        SELECT c.oid, min(n.nspname::text)::name, min(c.relname::text)::name, true, false, false,
               count(*) > 1 OR pgstream.is_outdated(c.oid)
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.oid = ANY (reduced) AND c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
         GROUP BY c.oid;
    END IF;
END
$$;

-- Writes one entry for each schema of these tables. `whole` is an entry of all tables of the schema.
CREATE OR REPLACE FUNCTION pgstream.log_tables(touched pgstream.touched_table[], whole boolean) RETURNS void
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
        INSERT INTO pgstream.schema_log_tables (schema_log_id, table_id, schema_name, table_name, dropped, created)
        SELECT entry, pgstream.table_id(t.relation), named, t.table_name, t.dropped, t.created
          FROM unnest(touched) AS t
         WHERE t.schema_name = named AND t.relation IS NOT NULL;

        SELECT array_agg(t.relation), array_agg(t.relation) FILTER (WHERE t.locked)
          INTO shown, locked
          FROM unnest(touched) AS t
         WHERE t.schema_name = named AND NOT t.dropped AND NOT t.outdated;
        IF whole THEN
            -- By name: after DROP SCHEMA the namespace is gone.
            shown := ARRAY (
                SELECT unnest(pgstream.tables_of((SELECT n.oid FROM pg_namespace AS n WHERE n.nspname = named)))
                EXCEPT
                SELECT t.relation FROM unnest(touched) AS t WHERE t.outdated);
        END IF;
        INSERT INTO pgstream.schema_log (id, version, schema_name, schema)
        VALUES (entry, nextval('pgstream.schema_log_version'), named, pgstream.describe_tables(shown, locked));
    END LOOP;
END
$$;

-- Locks of what is pgstream's own that do not come soon are a WARNING: nobody waits for us. The catalogs, on the other hand,
-- the statement itself reads as well, so that giving up while they are locked (VACUUM FULL pg_class) would lose the entry
-- and gain nothing.
CREATE OR REPLACE FUNCTION pgstream.log_schema_change() RETURNS event_trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET lock_timeout = '10s'
    SET plan_cache_mode = force_generic_plan
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

    IF tg_event = 'ddl_command_end' THEN
        touched := ARRAY (SELECT a FROM pgstream.altered_tables() AS a);
    ELSE
        touched := ARRAY (SELECT d FROM pgstream.dropped_tables(tg_tag) AS d);
        -- What the command also altered (ALTER TABLE ... DROP COLUMN) is logged at its end, once.
        IF touched <> '{}' AND tg_tag LIKE 'ALTER %' THEN
            touched := ARRAY (
                SELECT t FROM unnest(touched) AS t
                 WHERE t.relation NOT IN (
                       SELECT a.relation FROM pgstream.altered_tables() AS a WHERE a.relation IS NOT NULL));
        END IF;
    END IF;
    IF touched = '{}' THEN
        RETURN;
    END IF;

    PERFORM set_config('lock_timeout', '50ms', true);
    LOCK TABLE pgstream.schema_log, pgstream.schema_log_tables, pgstream.table_ids IN ROW EXCLUSIVE MODE;
    PERFORM set_config('lock_timeout', '10s', true);

    INSERT INTO pgstream.table_ids (id, oid)
    SELECT pgstream.table_id(t.relation), t.relation
      FROM unnest(touched) AS t
     WHERE t.created AND t.schema_name <> 'pgstream'
        ON CONFLICT DO NOTHING;
    PERFORM pgstream.log_tables(touched, pgstream.schema_log_mode() = 'full');
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'pgstream could not log this schema change: % (SQLSTATE %)', SQLERRM, SQLSTATE;
END
$$;

DROP FUNCTION pgstream.dropped_tables();

-- Logs the present state of a schema, all its tables, in either mode. For one whose changes were not logged: because
-- pgstream.skip_log was on, or a warning said so. It waits for open changes of the tables, and changes made later wait for
-- this transaction, so that the entry has its place among the others.
CREATE OR REPLACE FUNCTION pgstream.refresh_schema(name text) RETURNS bigint
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
      FROM unnest(seen) AS t(oid)
        ON CONFLICT DO NOTHING;
    PERFORM pgstream.log_tables((
        SELECT coalesce(array_agg((c.oid, refresh_schema.name, c.relname, true, false, false, false)::pgstream.touched_table),
                        ARRAY [(NULL, refresh_schema.name, NULL, false, false, false, false)::pgstream.touched_table])
          FROM pg_class AS c
         WHERE c.oid = ANY (seen) AND c.relnamespace = namespace), true);
    SELECT currval('pgstream.schema_log_version') INTO version;
    RETURN version;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgstream FROM PUBLIC;

-- In sessions with session_replication_role = 'replica' as well: they alter tables like others.
ALTER EVENT TRIGGER pgstream_log_change ENABLE ALWAYS;
ALTER EVENT TRIGGER pgstream_log_drop ENABLE ALWAYS;
