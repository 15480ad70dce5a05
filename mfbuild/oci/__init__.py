"""OCI images as values and bytes: layers, configs, manifests, layouts, registries."""
