"""The pytest plugin: labs as fixtures, scenario files as tests."""
