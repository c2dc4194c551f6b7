"""How models learn: data, batches, losses, loop, recipes."""
