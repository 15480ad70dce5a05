"""Flows as data: what the user wrote, read in a child process."""
