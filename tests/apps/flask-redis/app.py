from flask import Flask, request
from redis import Redis

app = Flask(__name__)
redis = Redis(host="redis", port=6379)


@app.get("/")
def hello() -> str:
    names = sorted(name.decode() for name in redis.smembers("names"))
    return f"Hello {', '.join(names) or 'nobody'}!"


@app.post("/")
def add() -> str:
    redis.sadd("names", request.form["name"])
    return hello()


if __name__ == "__main__":
    app.run(host="0.0.0.0", port=8000, debug=True)
