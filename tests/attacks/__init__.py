"""Attacks that have worked on container runtimes, driven through the command line.

Each test plays an image, a config or a process that was made to do harm. The runtime may refuse
(status not 0) or confine; nothing on the host may change, and nothing of the host may be seen.
"""
