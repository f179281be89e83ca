import os

import psycopg
import redis
from flask import Flask, request


def database() -> psycopg.Connection:
    connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    connection.execute("CREATE TABLE IF NOT EXISTS words (word text)")
    return connection


def create_app() -> Flask:
    app = Flask(__name__, static_folder="../public", static_url_path="")
    queue = redis.Redis.from_url(os.environ["REDIS_URL"])

    @app.get("/up")
    def up() -> str:
        queue.ping()
        return ""

    @app.get("/")
    def home() -> str:
        with database() as connection:
            words = [row[0] for row in connection.execute("SELECT word FROM words")]
        return f"<link rel=stylesheet href=/css/app.css>Words: {' '.join(words)}"

    @app.post("/")
    def add() -> str:
        queue.rpush("words", request.form["word"])
        return "queued"

    return app
