"""What is inside of a checkpoint, and of this machine."""
