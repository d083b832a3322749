"""How `events` shows what it sees: JSON lines for programs, a live table for people."""
