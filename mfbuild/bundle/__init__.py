"""Bundles: what a package makes and a push sends, as an OCI image layout with a bundle.json."""
