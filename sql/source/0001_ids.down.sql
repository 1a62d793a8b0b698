DROP FUNCTION IF EXISTS pgstream.table_id(oid);
DROP FUNCTION IF EXISTS pgstream.xid();
DROP FUNCTION IF EXISTS pgstream.table_id_prefix();
DROP FUNCTION IF EXISTS pgstream.machine();
DROP FUNCTION IF EXISTS pgstream.base32hex(bit);
DROP SEQUENCE IF EXISTS pgstream.xid_counter;
DROP DOMAIN IF EXISTS pgstream.xid;
