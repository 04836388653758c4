"""Asks for a page and prints the outcome: ask.py URL [TIMES [AT-ONCE]]."""

import collections
import concurrent.futures
import sys
import time
import urllib.error
import urllib.request


def ask(url: str) -> str:
    began = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=15) as answer:
            answer.read()
            said = str(answer.status)
    except urllib.error.HTTPError as error:
        said = str(error.code)
    except OSError as error:
        said = str(error)
    print(f"{said} after {time.monotonic() - began:.1f} s", flush=True)
    return said


url, *numbers = sys.argv[1:]
times, at_once = (*map(int, numbers), 1, 1)[:2]
with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
    found = collections.Counter(pool.map(ask, [url] * times))
print(", ".join(f"{number} x {said}" for said, number in sorted(found.items())))
