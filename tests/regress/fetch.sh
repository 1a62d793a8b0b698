#!/usr/bin/env bash
# Fetches PostgreSQL's regression suite for the server that is installed, from Debian's source package, into the folder
# that is named; silent where it is there already. Neither packages nor sources of packages of this machine change.
#
#   tests/regress/fetch.sh FOLDER
#
# It leaves in FOLDER: regress/ (scripts, expected results, data, schedules), lib/ (regress.so and the two modules of
# contrib that triggers are tested with), and pg_regress, all readable for the server's user.
set -euo pipefail

fail() {
  printf 'regress: %s\n' "$@" >&2
  exit 1
}

folder=$(realpath -m "${1:?name a folder}")
# The one that the tests take: the newest that has wal2json.
[[ -z ${PGSTREAM_PG_BIN:-} ]] || fail 'this takes the PostgreSQL of Debian: unset PGSTREAM_PG_BIN'
plugin=$(ls -d /usr/lib/postgresql/*/lib/wal2json.so 2>/dev/null | sort -V | tail -n 1) || true
[[ -n $plugin ]] || fail 'no PostgreSQL of Debian with wal2json is installed: run `make setup`'
libraries=${plugin%/wal2json.so}
major=$(basename "${libraries%/lib}")
version=$(dpkg-query -W -f '${Version}' "postgresql-$major")

if [[ -e $folder/version && $(<"$folder/version") == "$version" ]]; then exit 0; fi
command -v apt-get >/dev/null || fail 'this needs apt-get, of Debian'
# shellcheck disable=SC1091
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[[ -n $codename ]] || fail '/etc/os-release names no release of Debian'

rm -rf "$folder"
mkdir -p "$folder/apt/lists/partial" "$folder/regress" "$folder/lib"
cd "$folder/apt"
cat >sources.list <<END
deb-src http://deb.debian.org/debian $codename main
deb-src http://deb.debian.org/debian-security $codename-security main
END
apt() {
  apt-get -qq -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$PWD/lists" -o APT::Sandbox::User=root "$@"
}

echo "regress: fetching the source of postgresql-$major $version"
apt update
# A newer one of the same major version is as good, where the mirror has no longer this one.
apt --download-only --tar-only source "postgresql-$major=$version" 2>/dev/null ||
  apt --download-only --tar-only source "postgresql-$major" ||
  fail "Debian's mirror has no source of postgresql-$major"
tar -xf "postgresql-${major}_"*.orig.tar.* --strip-components=1 --wildcards '*/src/test/regress/*'
mv src/test/regress/* "$folder/regress/"

# Only its headers are needed: the package is unpacked here and not installed, for it wants a whole LLVM.
# Those of the server that runs, if that can be had: others may know functions that it lacks.
headers() {
  local package=postgresql-server-dev-$major
  apt-get -qq -o APT::Sandbox::User=root download "$package=$version" 2>/dev/null ||
    apt-get -qq -o APT::Sandbox::User=root download "$package"
}
headers || { [[ $EUID -eq 0 ]] && apt-get -qq update && headers; } ||
  fail "postgresql-server-dev-$major cannot be downloaded: run \`apt-get update\` as root"
dpkg-deb -x "postgresql-server-dev-$major"_*.deb headers
cc -O2 -fPIC -shared -I "headers/usr/include/postgresql/$major/server" \
  -o "$folder/lib/regress.so" "$folder/regress/regress.c"
cp "$libraries"/{refint,autoinc}.so "$folder/lib/"
cp "$libraries/pgxs/src/test/regress/pg_regress" "$folder/"

cd "$folder"
rm -rf apt
chmod -R a+rX "$folder"
echo "$version" >version
