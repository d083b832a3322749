"""Requirement tests that drive any OCI runtime by its command line."""
