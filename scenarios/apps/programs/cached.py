"""Asks memcached for a value, with two seconds of patience: cached.py HOST."""

import sys

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

client = Client((sys.argv[1], 11211), connect_timeout=2, timeout=2)
try:
    print("value:", client.get("key"))
except TimeoutError as error:
    print(error)
    sys.exit(3)
except (MemcacheError, OSError) as error:
    print(type(error).__name__, error)
    sys.exit(4)
