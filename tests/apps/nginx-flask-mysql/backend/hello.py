import pymysql
from flask import Flask, request

server = Flask(__name__)


def connect() -> pymysql.Connection:
    with open("/run/secrets/db-password", encoding="utf-8") as file:
        password = file.read().strip()
    connection = pymysql.connect(user="root", password=password, host="db", database="example", autocommit=True)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS blog (title VARCHAR(255))")
    return connection


@server.route("/", methods=["GET", "POST"])
def posts() -> str:
    with connect() as connection, connection.cursor() as cursor:
        if request.method == "POST":
            cursor.execute("INSERT INTO blog VALUES (%s)", (request.form["title"],))
        cursor.execute("SELECT title FROM blog")
        return f"Posts: {' '.join(row[0] for row in cursor.fetchall())}"
