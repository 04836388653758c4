#!/bin/sh
# The shell of the wire, beside tc and ip in the kernel that impairs: runs what it reads, line by line.
while IFS= read -r line; do
    eval "$line"
done
