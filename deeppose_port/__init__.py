"""DeepPose in two engines, and what is done with it."""
