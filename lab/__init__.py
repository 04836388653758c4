"""A containerized multi-host network lab for socket behaviour."""

__version__ = "0.1.0"
