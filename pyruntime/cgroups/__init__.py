"""Control groups: what they are called, what is written to them, and the acts on them."""
