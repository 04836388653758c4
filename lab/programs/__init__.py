"""The article's two programs, for use by hand and inside the lab's hosts.

Each is one file that imports only Python's standard library, so that the host image can carry it as it is
(`lab-client`, `lab-server`) and a beginner can read it from top to bottom.
"""
