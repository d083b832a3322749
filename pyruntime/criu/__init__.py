"""CRIU, which saves processes as images and restores them: how it is started and spoken with.

Loaded for checkpoint and restore alone, which take a third of a second each.
"""
