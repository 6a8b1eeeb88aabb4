"""Index and embed a user's own photographs with one artifact of a bundle."""
