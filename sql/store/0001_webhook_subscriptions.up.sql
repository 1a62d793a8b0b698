-- Who receives which changes. An empty schema, table or list of event types means all.

CREATE TABLE pgstream.webhook_subscriptions (
    url text NOT NULL,
    schema_name text NOT NULL DEFAULT '',
    table_name text NOT NULL DEFAULT '',
    event_types text[] NOT NULL DEFAULT '{}'
        CONSTRAINT webhook_subscriptions_event_types CHECK (event_types <@ '{I,U,D,T}'),
    PRIMARY KEY (url, schema_name, table_name)
);

-- Subscriptions changed in SQL hold at once: running programs listen to this channel.
CREATE FUNCTION pgstream.notify_subscriptions() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_catalog.pg_notify('pgstream_subscriptions', '');
    RETURN NULL;
END
$$;

CREATE TRIGGER webhook_subscriptions_notify
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON pgstream.webhook_subscriptions
    FOR EACH STATEMENT EXECUTE FUNCTION pgstream.notify_subscriptions();
