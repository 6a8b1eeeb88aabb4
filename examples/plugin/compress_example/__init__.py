"""Components for Compress, found by the entry points of pyproject.toml."""
