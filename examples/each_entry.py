#!/usr/bin/env python3
"""What a CI system does with `lab matrix`: plan, run each entry separately, go on after a failure, sum up.

    examples/each_entry.py [PATH or option of `lab matrix`]...

Each entry leaves its run folders, with JUnit, reports and captures, in out/<name of the entry>. The exit
status is the worst of all. Needs only the command `lab` in PATH.
"""

import json
import subprocess
import sys

asked = ["lab", "matrix", "--format", "json", *sys.argv[1:]]
plan = subprocess.run(asked, stdout=subprocess.PIPE, check=False)
if plan.returncode:
    sys.exit(plan.returncode)

entries = json.loads(plan.stdout)
worst = 0
for entry in entries:
    out = f"out/{entry['name']}"
    done = subprocess.run(["lab", "run", "--quiet", "--out", out, *entry["args"]], check=False)
    worst = max(worst, done.returncode)
print(f"{len(entries)} jobs, worst exit status {worst}")
sys.exit(worst)
