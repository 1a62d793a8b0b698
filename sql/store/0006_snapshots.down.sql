DROP TABLE IF EXISTS pgstream.snapshot_held;
DROP TABLE IF EXISTS pgstream.snapshot_holds;
DROP TABLE IF EXISTS pgstream.snapshot_endpoints;
DROP TABLE IF EXISTS pgstream.snapshot_slots;
DROP TABLE IF EXISTS pgstream.snapshot_tables;
DROP FUNCTION IF EXISTS pgstream.notify_backfills();
DROP SEQUENCE IF EXISTS pgstream.snapshot_runs;
