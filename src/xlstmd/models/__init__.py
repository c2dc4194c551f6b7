"""What backbones are for: forecasters, their checkpoints and runtimes. Imports no torch."""
