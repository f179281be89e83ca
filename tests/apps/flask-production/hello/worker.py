"""Takes words from the queue and stores them."""

import os
import time

import psycopg
import redis

from hello.app import database

queue = redis.Redis.from_url(os.environ["REDIS_URL"])
while True:
    try:
        _, word = queue.blpop("words")
        with database() as connection:
            connection.execute("INSERT INTO words VALUES (%s)", (word.decode(),))
        print("stored", word.decode(), flush=True)
    except (redis.ConnectionError, psycopg.OperationalError) as error:
        print("waiting:", error, flush=True)
        time.sleep(0.5)
