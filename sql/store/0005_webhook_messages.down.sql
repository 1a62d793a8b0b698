DO $$
BEGIN
    IF to_regclass('pgstream.webhook_subscriptions') IS NOT NULL THEN
        DELETE FROM pgstream.webhook_subscriptions WHERE event_types = '{M}';
        UPDATE pgstream.webhook_subscriptions SET event_types = array_remove(event_types, 'M')
         WHERE 'M' = ANY (event_types);
        ALTER TABLE pgstream.webhook_subscriptions
            DROP CONSTRAINT IF EXISTS webhook_subscriptions_event_types,
            ADD CONSTRAINT webhook_subscriptions_event_types CHECK (event_types <@ '{I,U,D,T}');
    END IF;
END
$$;
