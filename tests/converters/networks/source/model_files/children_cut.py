import torch.nn as nn
import torchvision


class PoseNet(nn.Module):
    def __init__(self, backbone='resnet34', joints=16):
        super(PoseNet, self).__init__()
        net = getattr(torchvision.models, backbone)(pretrained=True)
        self.backbone = nn.Sequential(*list(net.children())[:-1])
        self.fc = nn.Linear(net.fc.in_features, joints * 2)

    def forward(self, x):
        x = self.backbone(x)
        x = x.view(x.size(0), -1)
        return self.fc(x).view(-1, self.fc.out_features // 2, 2)
