"""The steps of one run and the folder that remembers which are finished."""
