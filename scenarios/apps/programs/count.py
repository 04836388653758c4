"""Makes one short query to the database: count.py CONNINFO."""

import sys

import psycopg

try:
    with psycopg.connect(sys.argv[1]) as connection:
        print(connection.execute("SELECT 6 * 7").fetchone()[0])
except psycopg.OperationalError as error:
    print(f"failed: {error}")
    sys.exit(3)
