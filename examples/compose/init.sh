#!/bin/sh
# Makes Backstage's login and the one database that it needs; postgres:17 runs it on its first start, as the superuser.
set -eu

psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set password="$BACKSTAGE_PASSWORD" \
  --username "$POSTGRES_USER" --dbname postgres <<'SQL'
CREATE ROLE backstage LOGIN PASSWORD :'password' NOCREATEDB;
CREATE DATABASE backstage;
REVOKE ALL ON DATABASE backstage FROM PUBLIC;
GRANT CONNECT, CREATE, TEMPORARY ON DATABASE backstage TO backstage;
SQL
