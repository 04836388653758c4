"""The container engine: its verbs, where it is found, its images, and what is left on it."""
