import torch.nn as nn
import torchvision.models as models


class DeepPose(nn.Module):
    """DeepPose: a ResNet whose last layer gives the joints"""
    def __init__(self, nJoints, modelName='resnet50'):
        super(DeepPose, self).__init__()
        self.nJoints = nJoints
        self.block = 'BottleNeck' if (int(modelName[6:]) > 34) else 'BasicBlock'
        self.resnet = getattr(models, modelName)(pretrained=True)
        self.resnet.fc = nn.Linear(512 * (4 if self.block == 'BottleNeck' else 1), self.nJoints * 2)

    def forward(self, x):
        return self.resnet(x)
