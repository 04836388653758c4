"""A running lab: it is asked to act, to collect and to judge, and says what happens as events."""
