-- Logical messages can be subscribed to: event type M, with the prefix in the place of the table. An empty list keeps meaning
-- I, U, D and T.

ALTER TABLE pgstream.webhook_subscriptions
    DROP CONSTRAINT webhook_subscriptions_event_types,
    ADD CONSTRAINT webhook_subscriptions_event_types CHECK (event_types <@ '{I,U,D,T,M}');
