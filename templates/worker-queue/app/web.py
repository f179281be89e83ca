import json
import os

import flask
import redis

app = flask.Flask(__name__)
queue = redis.Redis(host=os.environ["QUEUE_HOST"])


@app.post("/jobs")
def enqueue():
    job = queue.incr("last-job")
    queue.lpush("jobs", json.dumps({"job": job, "text": flask.request.get_data(as_text=True)}))
    return {"job": job}, 202


@app.get("/jobs/<int:job>")
def result(job):
    found = queue.hget("results", str(job))
    return {"job": job, "result": found.decode()} if found else ({"job": job, "result": None}, 404)


@app.get("/")
def index():
    return {"waiting": queue.llen("jobs"), "done": queue.hlen("results")}
