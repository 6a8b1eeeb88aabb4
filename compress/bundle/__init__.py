"""The folder an app team receives: its manifest and the files beside it."""
