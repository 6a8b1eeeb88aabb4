"""The gallery: its SQLite file and the search for the nearest images."""
