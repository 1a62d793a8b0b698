-- How to talk to an endpoint, and what an operator wants of it. A URL without a row has the defaults, and so has each
-- column that is null.

CREATE TABLE pgstream.webhook_endpoints (
    url text PRIMARY KEY,
    standing text NOT NULL DEFAULT 'active'
        CONSTRAINT webhook_endpoints_standing CHECK (standing IN ('active', 'paused', 'disabled')),
    reason text,
    ordering text CONSTRAINT webhook_endpoints_ordering CHECK (ordering IN ('key', 'serial', 'none')),
    in_flight integer CONSTRAINT webhook_endpoints_in_flight CHECK (in_flight BETWEEN 1 AND 10000),
    timeout_ms bigint CONSTRAINT webhook_endpoints_timeout CHECK (timeout_ms > 0),
    batch_size integer CONSTRAINT webhook_endpoints_batch_size CHECK (batch_size BETWEEN 1 AND 1000),
    batch_wait_ms bigint CONSTRAINT webhook_endpoints_batch_wait CHECK (batch_wait_ms >= 0),
    batch_bytes bigint CONSTRAINT webhook_endpoints_batch_bytes CHECK (batch_bytes > 0),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Written by running programs when the health of an endpoint changes.
CREATE TABLE pgstream.webhook_endpoint_health (
    url text PRIMARY KEY,
    health text NOT NULL,
    since timestamptz NOT NULL,
    reason text,
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Running programs listen to this channel. Without a payload it means the settings; with a URL, the backlog of that
-- endpoint too.
CREATE FUNCTION pgstream.notify_endpoints() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('pgstream_endpoints', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER webhook_endpoints_notify
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON pgstream.webhook_endpoints
    FOR EACH STATEMENT EXECUTE FUNCTION pgstream.notify_endpoints();
