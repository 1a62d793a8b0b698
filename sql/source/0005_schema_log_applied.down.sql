DROP TABLE IF EXISTS pgstream.schema_log_applied;
