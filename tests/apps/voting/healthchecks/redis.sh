#!/bin/sh
set -e
host="$(hostname -i || echo '127.0.0.1')"
ping="$(redis-cli -h "$host" ping)" && [ "$ping" = 'PONG' ]
