"""The article's two programs, to be used by hand and inside the lab's hosts.

Each is one file of standard-library Python that imports nothing of the lab, so that the host image can carry
it as it is (`lab-client`, `lab-server`) and a beginner can read it from top to bottom.
"""
