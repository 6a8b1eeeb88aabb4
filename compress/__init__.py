"""Compress: small image-retrieval networks, exported for phones and verified on the phone's own runtime."""

__version__ = "0.1.0"
