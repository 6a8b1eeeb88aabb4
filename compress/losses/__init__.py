"""Training objectives: ``<name>.py`` holds one Loss."""
