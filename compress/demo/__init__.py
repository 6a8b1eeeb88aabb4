"""The search page of a bundle and its REST API; needs the extra ``demo``."""
