"""`python -m tests.fuzz TARGET`: see `harness`."""

from __future__ import annotations

import sys

from tests.fuzz.agent import AGENT_SIDE
from tests.fuzz.channel import CHANNEL
from tests.fuzz.harness import main
from tests.fuzz.loader import COMPOSE, LOADER
from tests.fuzz.runs import RUN

TARGETS = {"loader": LOADER, "compose": COMPOSE, "runs": RUN, "channel": CHANNEL, "agent": AGENT_SIDE}

if __name__ == "__main__":
    sys.exit(main(TARGETS))
