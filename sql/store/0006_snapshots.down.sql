DROP TABLE IF EXISTS pgstream.snapshot_tables;
DROP SEQUENCE IF EXISTS pgstream.snapshot_runs;
