"""`python3 -m lab_agent [programs]`: serve the lab on stdin and stdout until stdin ends."""

import sys

if sys.argv[1:] == ["programs"]:
    from .program_agent import main
else:
    from .main import main

main()
