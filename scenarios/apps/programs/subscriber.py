"""A Redis subscriber that connects again when its connection ends.

subscriber.py HOST default|keepalive|checks
"""

import socket
import sys
import time

import redis

host, how = sys.argv[1:]
options = {
    "default": {},
    "keepalive": {
        "socket_keepalive": True,
        "socket_keepalive_options": {
            socket.TCP_KEEPIDLE: 1,
            socket.TCP_KEEPINTVL: 1,
            socket.TCP_KEEPCNT: 60,
        },
    },
    "checks": {"health_check_interval": 1},
}[how]
client = redis.Redis(host=host, socket_connect_timeout=2, **options)
while True:
    try:
        news = client.pubsub()
        news.subscribe("news")
        while True:
            # With a time-out: a subscriber in listen() never reaches its own health checks.
            message = news.get_message(timeout=0.5)
            if message is not None:
                print(message["type"], message["data"], flush=True)
    except redis.ConnectionError as error:
        print(f"lost: {error}", flush=True)
        time.sleep(0.2)
