"""The ways into an image: where a step's process runs, and what surrounds it."""
