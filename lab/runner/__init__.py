"""Runs the cases of scenario files: which cases, in what order, in which folders, with what reports."""
