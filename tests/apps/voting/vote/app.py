import json
import uuid

from flask import Flask, request
from redis import Redis

app = Flask(__name__)


@app.route("/", methods=["GET", "POST"])
def hello() -> str:
    if request.method == "POST":
        vote = {"voter_id": uuid.uuid4().hex, "vote": request.form["vote"]}
        Redis(host="redis", socket_timeout=5).rpush("votes", json.dumps(vote))
    return "Cats or dogs?"


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=80, threaded=True)
