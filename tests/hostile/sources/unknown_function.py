import chainer
import chainer.functions as F
import chainer.links as L

class AlexNet(chainer.Chain):
    def __init__(self, n_joints):
        super(AlexNet, self).__init__(conv1=L.Convolution2D(3, 8, 11, stride=4), fc8=L.Linear(22472, n_joints * 2))

    def __call__(self, x):
        return self.fc8(F.roi_pooling_2d(self.conv1(x), 3, F.MaxPooling2D))
