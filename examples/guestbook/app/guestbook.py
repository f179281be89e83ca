"""A guestbook: entries in PostgreSQL, the rendered list in Redis. Settings come from the environment, the password from a file."""

import os
import time

import flask
import psycopg2
import redis

CACHE_SECONDS = 60


def connect():
    with open("/run/secrets/db_password", encoding="utf-8") as secret:
        password = secret.read().strip()
    return psycopg2.connect(
        host=os.environ["DATABASE_HOST"], dbname=os.environ["DATABASE_NAME"], user="guestbook", password=password
    )


def create_database():
    """Make the database and its table where they are missing."""
    name = os.environ["DATABASE_NAME"]
    with open("/run/secrets/db_password", encoding="utf-8") as secret:
        password = secret.read().strip()
    admin = psycopg2.connect(
        host=os.environ["DATABASE_HOST"], dbname="postgres", user="guestbook", password=password
    )
    admin.autocommit = True
    with admin.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1)")
        cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
        if not cursor.fetchone():
            cursor.execute(f'CREATE DATABASE "{name}"')
        with connect() as connection, connection.cursor() as inner:
            inner.execute(
                "CREATE TABLE IF NOT EXISTS entry"
                " (id serial PRIMARY KEY, name text NOT NULL, message text NOT NULL, written timestamptz DEFAULT now())"
            )
    admin.close()


def create_app():
    app = flask.Flask(__name__)
    cache = redis.Redis(host=os.environ["CACHE_HOST"], socket_timeout=2)
    greeting = os.environ["GREETING"]
    key = f"page:{greeting}"
    create_database()

    def entries():
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT name, message, written FROM entry ORDER BY id DESC LIMIT 100")
            return cursor.fetchall()

    @app.get("/")
    def index():
        page = cache.get(key)
        source = "cache"
        if page is None:
            source = "database"
            page = flask.render_template("index.html", greeting=greeting, entries=entries()).encode()
            cache.set(key, page, ex=CACHE_SECONDS)
        return flask.Response(page, headers={"X-Page-From": source})

    @app.post("/")
    def sign():
        name = flask.request.form.get("name", "").strip()[:80]
        message = flask.request.form.get("message", "").strip()[:1000]
        if not name or not message:
            flask.abort(400, "Both a name and a message are needed.")
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO entry (name, message) VALUES (%s, %s)", (name, message))
        cache.delete(key)
        return flask.redirect("/", 303)

    @app.get("/healthz")
    def healthz():
        started = time.monotonic()
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        cache.ping()
        return {"ok": True, "seconds": round(time.monotonic() - started, 4)}

    return app
