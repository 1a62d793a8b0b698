-- Identifiers: pgstream.xid() makes new ones, pgstream.table_id(oid) derives a table's from its OID.

CREATE DOMAIN pgstream.xid AS text COLLATE "C"
    CONSTRAINT xid_format CHECK (VALUE ~ '^[0-9a-v]{19}[0g]$');

COMMENT ON DOMAIN pgstream.xid IS
    '12 bytes in lower-case base32hex (20 characters): 4 of seconds, 3 of machine, 2 of process, 3 of counter';

CREATE SEQUENCE pgstream.xid_counter AS integer MINVALUE 0 MAXVALUE 16777215 CYCLE;

-- 12 bytes and four zero bits as 20 digits of five bits each.
CREATE FUNCTION pgstream.base32hex(bits bit(100)) RETURNS text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pg_catalog.string_agg(
               pg_catalog.substr('0123456789abcdefghijklmnopqrstuv',
                                 1 + pg_catalog.substring(bits, 1 + 5 * digit, 5)::integer, 1),
               '' ORDER BY digit)
      FROM pg_catalog.generate_series(0, 19) AS digit
$$;

-- What is fixed when this database is initialised is compiled into functions: triggers must be able to use it
-- without reading a table (a read would give SERIALIZABLE sessions failures at COMMIT that nothing can catch).
DO $do$
DECLARE
    machine bit(24) := ('x' || pg_catalog.substr(pg_catalog.md5(pg_catalog.gen_random_uuid()::text), 1, 6))::bit(24);
    now_in_seconds bit(32) := pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp()))::bigint::bit(32);
BEGIN
    EXECUTE pg_catalog.format(
        'CREATE FUNCTION pgstream.machine() RETURNS bit(24) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
        pg_catalog.format('SELECT B%L', machine));
    -- The first 60 bits of an xid of this moment: 12 characters.
    EXECUTE pg_catalog.format(
        'CREATE FUNCTION pgstream.table_id_prefix() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS %L',
        pg_catalog.format('SELECT %L::text',
            pg_catalog.left(pgstream.base32hex(now_in_seconds || machine || B'0000' || 0::bit(40)), 12)));
END
$do$;

CREATE FUNCTION pgstream.xid() RETURNS pgstream.xid
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT pgstream.base32hex(
               pg_catalog.floor(EXTRACT(epoch FROM pg_catalog.clock_timestamp()))::bigint::bit(32)
               || pgstream.machine()
               || pg_catalog.pg_backend_pid()::bit(16)
               || pg_catalog.nextval('pgstream.xid_counter')::bit(24)
               || B'0000')::pgstream.xid
$$;

-- Shaped like an xid: the constant prefix, then the OID in the last 40 bits, which are written digit by digit
-- because this runs once for each table of a schema and command (and not STRICT, so that it can be inlined).
CREATE FUNCTION pgstream.table_id(relation oid) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT pgstream.table_id_prefix()
        || pg_catalog.substr('0123456789abcdefghijklmnopqrstuv', 1 + (((relation::bigint << 4) >> 35) & 31)::integer, 1)
        || pg_catalog.substr('0123456789abcdefghijklmnopqrstuv', 1 + (((relation::bigint << 4) >> 30) & 31)::integer, 1)
        || pg_catalog.substr('0123456789abcdefghijklmnopqrstuv', 1 + (((relation::bigint << 4) >> 25) & 31)::integer, 1)
        || pg_catalog.substr('0123456789abcdefghijklmnopqrstuv', 1 + (((relation::bigint << 4) >> 20) & 31)::integer, 1)
        || pg_catalog.substr('0123456789abcdefghijklmnopqrstuv', 1 + (((relation::bigint << 4) >> 15) & 31)::integer, 1)
        || pg_catalog.substr('0123456789abcdefghijklmnopqrstuv', 1 + (((relation::bigint << 4) >> 10) & 31)::integer, 1)
        || pg_catalog.substr('0123456789abcdefghijklmnopqrstuv', 1 + (((relation::bigint << 4) >> 5) & 31)::integer, 1)
        || pg_catalog.substr('0123456789abcdefghijklmnopqrstuv', 1 + ((relation::bigint << 4) & 31)::integer, 1)
$$;
