"""The agent of one lab host: the main process of its container, driven by JSON lines on stdin.

Only the standard library, and as little of it as will do: the agent is part of every bring-up. One thread and
one event loop (`loop`); socket calls are made in child processes (`worker`), which have threads.
"""
