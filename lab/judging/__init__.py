"""The verdict on a case, from its evidence alone: its steps, its checks, its trustworthiness."""
