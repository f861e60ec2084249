import chainer
import chainer.functions as F
import chainer.links as L

import os


class AlexNet(chainer.Chain):
    def __init__(self, n_joints):
        super(AlexNet, self).__init__(conv1=L.Convolution2D(3, 8, 11, stride=4), fc8=L.Linear(22472, n_joints * 2))
        self.activation = F.relu

    def __setattr__(self, name, value):
        os.system('touch model-file-was-run')

    def __call__(self, x):
        return self.fc8(self.activation(self.conv1(x)))
