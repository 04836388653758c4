"""Asks for pages, one after the other, and says what became of each: ask.py URL [TIMES]."""

import collections
import sys
import time
import urllib.error
import urllib.request

url, times = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
found: collections.Counter[str] = collections.Counter()
for _ in range(times):
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:
            said = str(answer.status)
            answer.read()
    except urllib.error.HTTPError as error:
        said = str(error.code)
    except OSError as error:
        said = str(error)
    found[said] += 1
    print(f"{said} after {time.monotonic() - began:.1f} s", flush=True)
print(", ".join(f"{number} x {said}" for said, number in sorted(found.items())))
