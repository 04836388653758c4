"""Tests without Docker that start processes or take seconds: agent, programs, workflow, hostile input."""
