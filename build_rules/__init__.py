"""The rules: pure functions that declare the actions of a build."""
