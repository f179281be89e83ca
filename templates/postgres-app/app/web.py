import os

import flask
import psycopg2

app = flask.Flask(__name__)


def connect():
    with open("/run/secrets/db_password", encoding="utf-8") as secret:
        password = secret.read().strip()
    return psycopg2.connect(host=os.environ["DATABASE_HOST"], dbname="postgres", user="app", password=password)


@app.get("/")
def index():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS visit (at timestamptz DEFAULT now())")
        cursor.execute("INSERT INTO visit DEFAULT VALUES")
        cursor.execute("SELECT count(*) FROM visit")
        return f"visit number {cursor.fetchone()[0]}\n"
