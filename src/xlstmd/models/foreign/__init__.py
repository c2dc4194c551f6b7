"""Other people's checkpoints: their files, and their names for our parameters. No torch."""
