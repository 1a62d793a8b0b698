-- What the captured records were made of. A line `-- capture FILE ACTION` makes a file of the next record with
-- that action; the records are searched in the order of these lines.
SET client_min_messages = warning;
SET timezone = 'UTC';

CREATE TABLE narrow (id bigint PRIMARY KEY, v integer);
CREATE TABLE orders (
    id bigserial PRIMARY KEY,
    customer text NOT NULL,
    email varchar(120),
    status text NOT NULL,
    total numeric(12,2),
    paid boolean,
    note text,
    placed_at timestamptz,
    meta jsonb
);
CREATE TABLE documents (id integer PRIMARY KEY, body jsonb, plain text);
ALTER TABLE documents ALTER body SET STORAGE EXTERNAL;
CREATE TABLE full_identity (id integer PRIMARY KEY, name text, amount numeric);
ALTER TABLE full_identity REPLICA IDENTITY FULL;
CREATE TABLE keyless (a integer, b text);
CREATE TABLE "odd ""names"".tab\le ünï😀" ("a b" integer, "q""uote" text, "back\slash" text, "do.t" text, "новый" text,
    PRIMARY KEY ("a b", "do.t"));
CREATE SCHEMA "sch.ema ""x""";
CREATE TABLE "sch.ema ""x"""."t" (id integer PRIMARY KEY);
CREATE TYPE "sch.ema ""x"""."mood" AS ENUM ('so-so');
CREATE TABLE quoted_type (id integer PRIMARY KEY, mood "sch.ema ""x"""."mood");

SELECT format('CREATE TABLE wide (id integer PRIMARY KEY, %s)',
    string_agg(format('c%s %s', n, (ARRAY['text', 'integer', 'numeric(12,2)', 'boolean', 'timestamptz', 'uuid'])[1 + n % 6]), ', ' ORDER BY n))
    FROM generate_series(1, 59) n \gexec

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy "quoted"');
CREATE TYPE "Odd Mood" AS ENUM ('so-so');
CREATE TYPE pair AS (x integer, y text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE every_type (
    c_smallint smallint PRIMARY KEY, c_integer integer, c_bigint bigint, c_oid oid,
    c_real real, c_double double precision, c_double_nan double precision, c_double_tiny double precision,
    c_numeric numeric, c_numeric_scale numeric(10,4), c_numeric_huge numeric, c_numeric_nan numeric,
    c_numeric_inf numeric, c_numeric_minus_inf numeric, c_money money,
    c_bool boolean, c_bool_false boolean, c_bytea bytea, c_bytea_empty bytea,
    c_char char(5), c_varchar varchar(10), c_text text, c_name name, c_control text, c_empty text, c_null text,
    c_date date, c_date_inf date, c_time time, c_timetz timetz, c_timestamp timestamp, c_timestamptz timestamptz,
    c_interval interval, c_uuid uuid, c_inet inet, c_cidr cidr, c_macaddr macaddr, c_bit bit(4), c_varbit varbit,
    c_json json, c_jsonb jsonb, c_xml xml, c_point point, c_box box, c_int4range int4range, c_multirange int4multirange,
    c_tsvector tsvector, c_int_array integer[], c_text_array text[], c_numeric_array numeric[],
    c_matrix integer[][], c_mood mood, c_odd_mood "Odd Mood", c_odd_moods "Odd Mood"[], c_mood_array mood[],
    c_pair pair, c_positive positive, c_pg_lsn pg_lsn, c_regclass regclass
);

SELECT pg_logical_emit_message(false, 'capture', 'start') \g /dev/null

-- capture begin B
-- capture narrow I
-- capture commit C
INSERT INTO narrow VALUES (1, 42);

-- capture order I
INSERT INTO orders (customer, email, status, total, paid, note, placed_at, meta) VALUES
    ('Zoë "Zed" Müller', 'zoe@example.com', 'placed', 1249.50, true,
     E'Leave at the door.\n\tRing "twice" — C:\\tmp, 東京 😀', '2025-03-13 09:52:47.579305+00',
     '{"lines": [{"sku": "A-17", "qty": 2, "price": 12.50}, {"sku": "Ü\"9", "qty": 1}], "gift": false}');

-- capture wide I
SELECT format('INSERT INTO wide SELECT 1, %s',
    string_agg((ARRAY['''the quick brown fox ' || n || '''', (n * 7919)::text, (n * 1234.25)::numeric(12,2)::text, (n % 4 = 0)::text,
        '''2025-03-13 09:52:47.5793+00''', '''7b2e1c9a-0d4f-4c1e-9a53-' || lpad(n::text, 12, '0') || ''''])[1 + n % 6], ', ' ORDER BY n))
    FROM generate_series(1, 59) n \gexec

-- capture json64k I
INSERT INTO documents SELECT 1,
    (SELECT jsonb_agg(jsonb_build_object('id', n, 'name', 'item "' || n || '"', 'note', E'line\nnext — né', 'price', n * 1.25))
     FROM generate_series(1, 500) n),
    (SELECT string_agg('The quick brown fox jumps over the lazy dog. ', '') FROM generate_series(1, 400));

-- capture update_toast U
UPDATE documents SET id = 2 WHERE id = 1;

-- capture update U
UPDATE orders SET status = 'shipped', note = NULL WHERE id = 1;

-- capture delete D
DELETE FROM orders WHERE id = 1;

BEGIN;
INSERT INTO full_identity VALUES (1, 'before "it"', 12.50);
-- capture update_full_identity U
UPDATE full_identity SET name = E'after\\it', amount = 'NaN' WHERE id = 1;
-- capture update_key U
UPDATE full_identity SET id = 2 WHERE id = 1;
-- capture delete_full_identity D
DELETE FROM full_identity WHERE id = 2;
COMMIT;

-- capture insert_keyless I
INSERT INTO keyless VALUES (1, NULL);

-- capture truncate T
TRUNCATE narrow;

-- capture message M
SELECT pg_logical_emit_message(true, 'audit "x"', E'{"who": "zoë"}\n') \g /dev/null
-- capture message_outside_transaction M
SELECT pg_logical_emit_message(false, 'heartbeat', 'tick') \g /dev/null

-- capture odd_table I
INSERT INTO "odd ""names"".tab\le ünï😀" VALUES (1, 'q"', 'b\s', 'd.t', 'привет');
-- capture odd_schema I
INSERT INTO "sch.ema ""x"""."t" VALUES (1);

-- capture every_type I
INSERT INTO every_type VALUES (
    -32768, 2147483647, -9223372036854775808, 4294967295,
    3.4028235e38, 0.1, 'NaN', 5e-324,
    12345678901234567890.12345678901234567890, 12.5, 10::numeric ^ 400, 'NaN',
    'Infinity', '-Infinity', 1234.56,
    true, false, '\x00ff5c22', '',
    'ab', 'varchar', E'back\\slash "quoted" /slash/ é 東京 😀', 'a_name', E'\x01\x02\b\f\n\r\t\x1f\x7f', '', NULL,
    '2025-03-13', 'infinity', '09:52:47.5', '09:52:47+02', '2025-03-13 09:52:47.579305', '2025-03-13 11:52:47.579305+02',
    '1 year 2 mons -3 days 04:05:06.789', '7b2e1c9a-0d4f-4c1e-9a53-000000000001', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03', B'1010', B'101',
    '{"a":  "\ud83d\ude00", "a": 1e400}', '{"k": [1, 2.50, null, "x\"y"]}', '<a b="c">d</a>', '(1.5,-2)', '(1,1),(0,0)', '[1,10)', '{[1,3),[5,8)}',
    'fat:2 cat:3', '{1,NULL,3}', '{"a \"b\"",NULL,"c,d","\\"}', '{1.50,NaN}',
    '{{1,2},{3,4}}', 'happy "quoted"', 'so-so', '{so-so}', '{sad,"happy \"quoted\""}',
    '(1,"a ""b"", c")', 7, '16/B374D848', 'narrow'
);

-- Two records that are not valid JSON. wal2json prints a type name that begins with a quote as it is, and takes
-- the bytes of a message for text.
-- capture malformed_type_name I
INSERT INTO quoted_type VALUES (1, 'so-so');
-- capture malformed_message M
SELECT pg_logical_emit_message(true, 'binary', '\xff22'::bytea) \g /dev/null
