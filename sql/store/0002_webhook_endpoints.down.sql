DROP TABLE IF EXISTS pgstream.webhook_endpoint_health;
DROP TABLE IF EXISTS pgstream.webhook_endpoints;
DROP FUNCTION IF EXISTS pgstream.notify_endpoints();
