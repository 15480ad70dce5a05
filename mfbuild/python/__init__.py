"""Python packages as data: the lock, its resolution, wheels and their downloads."""
