"""Hostile input made at random: what makes it, what is fed with it, and what must hold."""
