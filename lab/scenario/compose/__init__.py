"""Compose's words: what a service of a Compose file or of a scenario says, to the typed `ServiceSpec`."""
