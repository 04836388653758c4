"""Calls lab.Greeter/Hello twice a second, with a deadline of 1 s: rpc_client.py HOST default|keepalive."""

import sys
import time

import grpc

host, how = sys.argv[1:]
options = {
    "default": [],
    "keepalive": [("grpc.keepalive_time_ms", 1000), ("grpc.keepalive_timeout_ms", 1000)],
}[how]
channel = grpc.insecure_channel(f"{host}:50051", options)
hello = channel.unary_unary("/lab.Greeter/Hello")
while True:
    try:
        print(hello(b"you", timeout=1).decode(), flush=True)
    except grpc.RpcError as error:
        print(error.code().name, flush=True)
    time.sleep(0.5)
