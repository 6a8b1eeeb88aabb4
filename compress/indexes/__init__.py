"""Ways to search a gallery: each builds a file beside the gallery and finds a query's nearest images with it."""
