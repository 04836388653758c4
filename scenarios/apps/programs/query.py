"""Makes a query to PostgreSQL that takes a minute: query.py CONNINFO."""

import sys
import time

import psycopg

with psycopg.connect(sys.argv[1]) as connection:
    began = time.monotonic()
    try:
        connection.execute("SELECT pg_sleep(60)")
        print("answered", flush=True)
    except psycopg.OperationalError as error:
        print(f"gave up after {time.monotonic() - began:.1f} s: {error}", flush=True)
        sys.exit(3)
