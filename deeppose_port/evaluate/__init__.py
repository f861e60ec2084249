"""What a checkpoint is worth, and whether two are the same network."""
