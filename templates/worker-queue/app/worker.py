import json
import os
import signal
import sys

import redis

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
queue = redis.Redis(host=os.environ["QUEUE_HOST"])
print("waiting for jobs")
while True:
    popped = queue.brpop("jobs", timeout=5)
    if popped:
        job = json.loads(popped[1])
        queue.hset("results", str(job["job"]), job["text"].upper())
        print(f"job {job['job']} is done")
