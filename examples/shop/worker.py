"""Does the jobs that the web server leaves in the database."""

import os

import redis

database = redis.Redis(os.environ["DATABASE"])
while True:
    _, job = database.blpop("jobs")
    print("did job", int(job))
