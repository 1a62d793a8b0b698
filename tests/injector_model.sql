-- What the sessions of suite `injector_model` do. Every text column of a row holds the id that its column has, and
-- `truth` holds those of the primary key: so each event says itself what its metadata has to be.

CREATE SCHEMA test;
CREATE SCHEMA s0;
CREATE SCHEMA s1;
CREATE SEQUENCE test.row_number;
CREATE SEQUENCE test.name_number;

-- A table that now exists.
CREATE FUNCTION test.any_table() RETURNS regclass LANGUAGE sql VOLATILE AS $$
    SELECT c.oid::regclass FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('s0', 's1') AND c.relkind = 'r' ORDER BY random() LIMIT 1
$$;

-- A column that may be renamed or dropped.
CREATE FUNCTION test.any_column(of_table regclass) RETURNS name LANGUAGE sql VOLATILE AS $$
    SELECT attname FROM pg_attribute
     WHERE attrelid = of_table AND attnum > 0 AND NOT attisdropped AND atttypid IN ('text'::regtype, 'bigint'::regtype)
     ORDER BY random() LIMIT 1
$$;

-- The columns of a table and a row for it; to be called while the table is locked.
CREATE FUNCTION test.new_row(of_table regclass, OUT columns text, OUT row_values text) LANGUAGE sql VOLATILE AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum),
           string_agg(CASE atttypid
                          WHEN 'text'::regtype THEN quote_literal(pgstream.table_id(of_table) || '-' || attnum)
                          WHEN 'bigint'::regtype THEN nextval('test.row_number')::text
                          ELSE quote_nullable((
                              SELECT jsonb_agg(pgstream.table_id(of_table) || '-' || k.attnum ORDER BY k.attnum)
                                FROM pg_index AS i JOIN pg_attribute AS k ON k.attrelid = of_table AND k.attnum = ANY (i.indkey)
                               WHERE i.indrelid = of_table AND i.indisprimary))
                      END, ', ' ORDER BY attnum)
      FROM pg_attribute WHERE attrelid = of_table AND attnum > 0 AND NOT attisdropped
$$;

CREATE FUNCTION test.write_row(of_table regclass) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    new record;
    one text := format('ctid = (SELECT ctid FROM %s LIMIT 1 FOR UPDATE SKIP LOCKED)', of_table);
    what float := random();
BEGIN
    EXECUTE format('LOCK TABLE %s IN ROW EXCLUSIVE MODE', of_table);
    SELECT * INTO new FROM test.new_row(of_table);
    IF what < 0.6 THEN
        EXECUTE format('INSERT INTO %s (%s) VALUES (%s)', of_table, new.columns, new.row_values);
    ELSIF what < 0.85 THEN
        EXECUTE format('UPDATE %s SET (%s) = ROW (%s) WHERE %s', of_table, new.columns, new.row_values, one);
    ELSE
        EXECUTE format('DELETE FROM %s WHERE %s', of_table, one);
    END IF;
END
$$;

-- The id of a column of a table that is just being made with its rows.
CREATE FUNCTION test.id_made(made text, number int) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN pgstream.table_id(made::regclass) || '-' || number;
END
$$;

CREATE FUNCTION test.change_schema() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    chosen regclass := test.any_table();
    chosen_column name := test.any_column(chosen);
    fresh text := 'c' || nextval('test.name_number');
    some_schema text := 's' || floor(random() * 2)::int;
    some_table text := 't' || floor(random() * 6)::int;
BEGIN
    CASE floor(random() * 10)::int
        WHEN 0, 1 THEN
            IF random() < 0.5 THEN
                EXECUTE format('CREATE TABLE %I.%I (k bigint, a text, truth jsonb, b text, l bigint)', some_schema, some_table);
            ELSE
                EXECUTE format('CREATE TABLE %1$I.%2$I AS
                                SELECT nextval(''test.row_number'') AS k, test.id_made(''%1$I.%2$I'', 2) AS a, NULL::jsonb AS truth,
                                       test.id_made(''%1$I.%2$I'', 4) AS b, nextval(''test.row_number'') AS l
                                  FROM generate_series(1, 3)', some_schema, some_table);
            END IF;
            IF random() < 0.7 THEN
                EXECUTE format('ALTER TABLE %I.%I ADD PRIMARY KEY (%s)', some_schema, some_table,
                               CASE WHEN random() < 0.5 THEN 'k' ELSE 'l, a, k' END);
            END IF;
        WHEN 2 THEN EXECUTE format('DROP TABLE %s', chosen);
        WHEN 3 THEN EXECUTE format('ALTER TABLE %s RENAME TO %I', chosen, some_table);
        WHEN 4 THEN EXECUTE format('ALTER TABLE %s SET SCHEMA %I', chosen, some_schema);
        WHEN 5 THEN EXECUTE format('ALTER TABLE %s ADD %I text', chosen, fresh);
        WHEN 6 THEN EXECUTE format('ALTER TABLE %s RENAME %I TO %I', chosen, chosen_column, fresh);
        WHEN 7 THEN EXECUTE format('ALTER TABLE %s DROP %I', chosen, chosen_column);
        WHEN 8 THEN EXECUTE format('ALTER TABLE %s REPLICA IDENTITY %s', chosen,
                                   CASE WHEN random() < 0.5 THEN 'FULL' ELSE 'DEFAULT' END);
        ELSE
            -- Two names exchanged, by way of a third.
            EXECUTE format('ALTER TABLE %s RENAME TO %I', chosen, fresh);
            PERFORM test.write_row(chosen);
            EXECUTE format('ALTER TABLE %s RENAME TO %I', test.any_table(), some_table);
    END CASE;
END
$$;

-- One step of a transaction.
CREATE FUNCTION test.step() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.3 THEN
        PERFORM test.change_schema();
    ELSE
        PERFORM test.write_row(test.any_table());
    END IF;
END
$$;
