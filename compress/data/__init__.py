"""From image files to arrays: find, decode, split, batch."""
