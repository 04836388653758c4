"""`python3 -m lab_agent [programs]`: serve the lab on stdin and stdout until stdin ends.

`python3 -m lab_agent signal NAME=VALUE NUMBER` sends one signal and exits.
"""

import sys

if sys.argv[1:2] == ["signal"]:
    from . import marked

    sys.exit(marked.main(*sys.argv[2:]))
elif sys.argv[1:] == ["programs"]:
    from .program_agent import main
else:
    from .main import main

main()
