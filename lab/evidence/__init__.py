"""What was seen: calls, captures, states, counters and wire events. Never imports the engine."""
