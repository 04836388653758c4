"""Cases of scenario files run on an engine: which, in what order, in which folders, with what reports."""
