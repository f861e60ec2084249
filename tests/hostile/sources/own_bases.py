import chainer
import chainer.functions as F
import chainer.links as L

class AlexNet(Other):
    pass


class Other(AlexNet):
    pass


class Twice(chainer.Chain, chainer.Chain):
    pass
