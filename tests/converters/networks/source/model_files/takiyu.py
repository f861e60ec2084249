import chainer
import chainer.functions as F
import chainer.links as L


class Alex(chainer.Chain):
    insize = 220

    def __init__(self, joint_num):
        super(Alex, self).__init__(
            conv1=L.Convolution2D(3, 96, 11, stride=4),
            conv2=L.Convolution2D(96, 256, 5, pad=2),
            conv3=L.Convolution2D(256, 384, 3, pad=1),
            conv4=L.Convolution2D(384, 384, 3, pad=1),
            conv5=L.Convolution2D(384, 256, 3, pad=1),
            fc6=L.Linear(9216, 4096),
            fc7=L.Linear(4096, 4096),
            fc8=L.Linear(4096, joint_num * 2),
        )
        self.train = True

    def predict(self, x):
        h = F.max_pooling_2d(F.relu(F.local_response_normalization(self.conv1(x))), 3, stride=2)
        h = F.max_pooling_2d(F.relu(F.local_response_normalization(self.conv2(h))), 3, stride=2)
        h = F.relu(self.conv3(h))
        h = F.relu(self.conv4(h))
        h = F.max_pooling_2d(F.relu(self.conv5(h)), 3, stride=2)
        h = F.dropout(F.relu(self.fc6(h)), ratio=0.6, train=self.train)
        h = F.dropout(F.relu(self.fc7(h)), ratio=0.6, train=self.train)
        return self.fc8(h)

    def __call__(self, x, t=None):
        h = self.predict(x)
        if t is None:
            return h
        loss = F.mean_squared_error(h, t)
        chainer.report({'loss': loss}, self)
        return loss
