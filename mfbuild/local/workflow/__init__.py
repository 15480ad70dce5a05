"""A compiled workflow as a pure machine: what runs next, and with which inputs."""
