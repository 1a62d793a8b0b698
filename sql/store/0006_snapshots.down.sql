DROP TABLE IF EXISTS pgstream.snapshot_endpoints;
DROP TABLE IF EXISTS pgstream.snapshot_slots;
DROP TABLE IF EXISTS pgstream.snapshot_tables;
DROP SEQUENCE IF EXISTS pgstream.snapshot_runs;
