"""The machine: files, processes, memory, installed libraries, progress on the terminal."""
