"""Cases of scenario files run on an engine: selected, one after another or side by side, with their reports."""
