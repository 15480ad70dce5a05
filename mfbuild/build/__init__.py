"""The five stages of a build: load, lock, analyze, execute, bundle."""
