"""Compose's keys: from a service in a Compose file or a scenario to the typed `ServiceSpec`."""
