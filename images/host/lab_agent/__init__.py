"""The agent of one lab host: the main process of its container, driven by JSON lines on stdin.

It uses only the standard library, and as little of it as possible: it is part of every bring-up. It has one
thread and one event loop (`loop`); child processes with threads (`worker`) make the socket calls.
"""
