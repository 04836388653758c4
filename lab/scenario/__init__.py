"""The front half: YAML to a typed scenario, with all that is wrong in it at once."""
