"""The lab on a kernel with netem: see `run`."""
