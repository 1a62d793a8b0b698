DROP TABLE IF EXISTS pgstream.webhook_subscriptions;
DROP FUNCTION IF EXISTS pgstream.notify_subscriptions();
