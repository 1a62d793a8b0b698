#!/bin/sh
# Regenerates the captured records of this folder: capture.sh URL
#
# URL is a libpq URL of a scratch database on a server with wal_level=logical and wal2json installed. Needs psql
# and pg_recvlogical. Objects of capture.sql must not exist; the slot it makes is dropped again. Transaction ids,
# timestamps and LSNs differ from run to run.
set -eu

url=${1:?usage: capture.sh postgresql://user@host:port/database}
here=$(cd "$(dirname "$0")" && pwd)
slot=pgstream_capture
received=$(mktemp)
trap 'rm -f "$received"; pg_recvlogical -d "$url" -S $slot --drop-slot 2>/dev/null || :' EXIT

pg_recvlogical -d "$url" -S $slot --create-slot -P wal2json
psql "$url" -X -q -v ON_ERROR_STOP=1 -f "$here/capture.sql"
end=$(psql "$url" -X -q -A -t -c 'SELECT pg_current_wal_lsn()')
# One more record behind the end, for pg_recvlogical stops at the first it receives from there.
psql "$url" -X -q -A -t -c "SELECT pg_logical_emit_message(false, 'capture', 'end')" >/dev/null
# The session settings are those under which pgstream reads, but for search_path, which pg_recvlogical empties:
# types of the schema public are qualified here.
PGOPTIONS='-c datestyle=ISO -c intervalstyle=postgres -c timezone=UTC -c extra_float_digits=3 -c bytea_output=hex' \
PGCLIENTENCODING=UTF8 pg_recvlogical -d "$url" -S $slot --start --endpos="$end" -f "$received" \
    -o format-version=2 -o include-lsn=1 -o include-timestamp=1 -o include-transaction=1 -o include-xids=1 \
    -o include-pk=1

# A record is a line. Of the wanted actions, in the order of capture.sql, each takes the next line with it.
sed '1,/"content":"start"/d' "$received" | awk -v here="$here" -v wanted="$(
    sed -n 's/^-- capture \([a-z0-9_]*\) \([BCIUDTM]\)$/\1:\2/p' "$here/capture.sql" | tr '\n' ' '
)" '
    BEGIN { count = split(wanted, want, " "); next_one = 1; split(want[1], part, ":") }
    next_one <= count && index($0, "{\"action\":\"" part[2] "\"") == 1 {
        printf "%s", $0 > (here "/" part[1] ".json")
        split(want[++next_one], part, ":")
    }
    END { if (next_one <= count) { print "no record for " want[next_one] > "/dev/stderr"; exit 1 } }
'
