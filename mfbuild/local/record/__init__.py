"""What is on disk of a run: its journal, its lock, and what it has completed."""
