"""From YAML to a checked recipe."""
