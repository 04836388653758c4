"""Pure judgement of a case's evidence: the checks of a scenario, and what its steps expect."""
