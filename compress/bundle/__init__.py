"""The folder an app team receives: its manifest and its other files."""
