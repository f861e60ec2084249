import chainer
import chainer.functions as F
import chainer.links as L

import os
import subprocess


class AlexNet(chainer.Chain):
    def __init__(self, n_joints, trace=os.system('touch model-file-was-run')):
        super(AlexNet, self).__init__(conv1=L.Convolution2D(3, 8, 11, stride=4), fc8=L.Linear(22472, n_joints * 2))
        os.system('touch model-file-was-run')
        subprocess.check_call(['touch', 'model-file-was-run'])
        open('model-file-was-run', 'w').write('x')
        __import__('os').system('touch model-file-was-run')
        eval("__import__('os').system('touch model-file-was-run')")
        exec("import os; os.system('touch model-file-was-run')")
        compile('1', '', 'eval')
        globals()['os'].mkdir('model-file-was-run')
        getattr(os, 'mkdir')('model-file-was-run')
        ().__class__.__bases__[0].__subclasses__()
        (lambda: 0).__globals__['os'].mkdir('model-file-was-run')
        self.__init__.__func__.__globals__

    def __call__(self, x):
        return self.fc8(F.relu(self.conv1(x)))
