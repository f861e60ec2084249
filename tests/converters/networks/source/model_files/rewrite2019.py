# 2019: Chainer 6 with ChainerCV
import chainer
import chainer.functions as F
import chainer.links as L
from chainercv.links import Conv2DActiv, PickableSequentialChain


def _lrn(x):
    return F.local_response_normalization(x, n=5, k=2, alpha=1e-4, beta=0.75)


def _max_pooling_2d(x):
    return F.max_pooling_2d(x, ksize=3, stride=2)


class AlexNet(PickableSequentialChain):

    def __init__(self, n_class=None):
        super(AlexNet, self).__init__()
        with self.init_scope():
            self.conv1 = Conv2DActiv(None, 96, 11, 4, 0)
            self.lrn1 = _lrn
            self.pool1 = _max_pooling_2d
            self.conv2 = Conv2DActiv(None, 256, 5, 2, 0)
            self.lrn2 = _lrn
            self.pool2 = _max_pooling_2d
            self.conv3 = Conv2DActiv(None, 384, 3, 1, 1)
            self.conv4 = Conv2DActiv(None, 384, 3, 1, 1)
            self.conv5 = Conv2DActiv(None, 256, 3, 1, 1)
            self.pool5 = _max_pooling_2d
            self.fc6 = L.Linear(None, 4096)
            self.drop6 = lambda x: F.dropout(x, 0.6)
            self.fc7 = L.Linear(None, 4096)
            self.drop7 = lambda x: F.dropout(x, 0.6)
            self.fc8 = L.Linear(None, n_class or 1000)


class DeepPose(chainer.Chain):
    def __init__(self, n_joints=11):
        super(DeepPose, self).__init__()
        with self.init_scope():
            self.extractor = AlexNet()
            self.fc = L.Linear(None, n_joints * 2)
        self.extractor.pick = 'drop7'
        self.extractor.remove_unused()

    def forward(self, x):
        return self.fc(self.extractor(x))
