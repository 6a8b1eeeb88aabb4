"""What a student can learn from a teacher: ``<name>.py`` holds one Objective."""
