"""DeepPose in Chainer."""
