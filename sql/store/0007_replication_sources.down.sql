DROP TABLE IF EXISTS pgstream.webhook_terms;
DROP TABLE IF EXISTS pgstream.replication_sources;
