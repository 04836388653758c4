"""The verdict on a case, from its evidence alone: its steps, its checks, whether it can be believed."""
