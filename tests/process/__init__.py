"""Tests that need no Docker but start processes: the agent, the programs, the lines of the workflow."""
