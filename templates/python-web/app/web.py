import os

import flask

app = flask.Flask(__name__)


@app.get("/")
def index():
    return f"{os.environ['GREETING']} from envkit\n"
