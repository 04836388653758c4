"""The front half: YAML to a typed scenario, or all of its mistakes at once."""
