"""A WSGI application: /slow takes a second, any other path answers at once."""

import time


def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        print("working", flush=True)
        time.sleep(1)
        print("answering", flush=True)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "6")])
    return [b"hello\n"]
