"""Base images as values: folders of images/, and OCI images by digest."""
