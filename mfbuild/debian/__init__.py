"""Debian packages as data: mirrors, package locks and their merge into one layer."""
