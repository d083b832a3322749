"""What this host can and cannot do for containers, found out by trying."""
