"""One module for each verb; each has `execute(request) -> int`, the exit status."""
