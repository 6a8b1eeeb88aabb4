"""Steps that turn a model into a better model: ``<name>.py`` holds one Stage."""
