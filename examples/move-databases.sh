#!/usr/bin/env bash
# Moves the plugins' databases of an existing Backstage into schemas of the one database that greenroom serves them
# from.
#
#   OLD=postgresql://user:password@old-server:5432 \
#   NEW=postgresql://backstage:password@new-server:5432/backstage \
#   examples/move-databases.sh
#
# OLD has no database in it and names the login that owns the old databases and may create others, as Backstage's has
# until now (before PostgreSQL 15: a superuser). NEW names the shared database and the login that greenroom will use.
# Both may be the same server. Backstage must not be running. The old databases are only read. Where a Backstage has a
# prefix or schemaPrefix of its own, give PREFIX and SCHEMA_PREFIX.
set -euo pipefail

: "${OLD:?set it to the URL of the old server, without a database}"
: "${NEW:?set it to the URL of the shared database}"
prefix=${PREFIX:-backstage_plugin_}
schema_prefix=${SCHEMA_PREFIX:-}
# A copy of one database at a time, in which its schema can be renamed.
copy=greenroom_move

sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }
old() { sql "$OLD/$1" "${@:2}"; }
drop_copy() { old postgres --command "DROP DATABASE IF EXISTS $copy"; }

databases=$(old postgres --set prefix="$prefix" <<'SQL'
SELECT datname FROM pg_database WHERE starts_with(datname::text, :'prefix') ORDER BY 1
SQL
)
if [[ -z "$databases" ]]; then
  echo "no database at OLD begins with $prefix" >&2
  exit 1
fi

export PGOPTIONS="--client-min-messages=warning"
trap drop_copy EXIT
while read -r database; do
  schema=$schema_prefix${database#"$prefix"}
  echo "$database -> schema $schema"
  drop_copy
  old postgres --command "CREATE DATABASE $copy TEMPLATE \"$database\""
  # Without the comment of `public`: greenroom marks the schema with one of its own.
  old "$copy" --command "ALTER SCHEMA public RENAME TO \"$schema\"" --command "COMMENT ON SCHEMA \"$schema\" IS NULL"
  # All of a schema or nothing: a schema that is there already ends the script, and nothing of it is touched.
  pg_dump "$OLD/$copy" --schema="\"$schema\"" --no-owner --no-privileges | sql "$NEW" --single-transaction >/dev/null
done <<<"$databases"
