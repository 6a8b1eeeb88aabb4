"""What the command line does besides running a recipe; one file per command."""
