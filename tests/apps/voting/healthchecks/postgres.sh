#!/bin/bash
set -eo pipefail
host="$(hostname -i || echo '127.0.0.1')"
export PGPASSWORD="${POSTGRES_PASSWORD:-}"
args=(--host "$host" --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-postgres}" --quiet --no-align --tuples-only)
select="$(echo 'SELECT 1' | psql "${args[@]}")" && [ "$select" = '1' ]
