"""`python3 -m lab_agent`: serve the lab on stdin and stdout until stdin ends."""

from .main import main

main()
