"""Counts visits in the database and leaves a job for the worker at each."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import redis

database = redis.Redis(os.environ["DATABASE"], socket_timeout=1, socket_connect_timeout=1)


class Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            visits = database.incr("visits")
            database.rpush("jobs", visits)
        except redis.RedisError as error:
            self.answer(503, f"no database: {error}\n")
        else:
            self.answer(200, f"visit {visits}\n")

    def answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())


ThreadingHTTPServer(("", 8080), Shop).serve_forever()
