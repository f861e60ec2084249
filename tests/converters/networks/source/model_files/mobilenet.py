# a student's MobileNet of depthwise convolutions
import torch.nn as nn
import torch.nn.functional as F


class MobileNet(nn.Module):
    def __init__(self, num_points=17, alpha=1.0):
        super(MobileNet, self).__init__()

        def conv_bn(inp, oup, stride):
            return nn.Sequential(nn.Conv2d(inp, oup, 3, stride, 1, bias=False), nn.BatchNorm2d(oup), nn.ReLU6(inplace=True))

        def conv_dw(inp, oup, stride):
            return nn.Sequential(
                nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False), nn.BatchNorm2d(inp), nn.ReLU6(inplace=True),
                nn.Conv2d(inp, oup, 1, 1, 0, bias=False), nn.BatchNorm2d(oup), nn.ReLU6(inplace=True),
            )

        cfg = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)] + [(512, 1)] * 5 + [(1024, 2), (1024, 1)]
        channels = int(32 * alpha)
        layers = [conv_bn(3, channels, 2)]
        for width, stride in cfg:
            layers.append(conv_dw(channels, int(width * alpha), stride))
            channels = int(width * alpha)
        self.model = nn.Sequential(*layers)
        self.regress = nn.Linear(channels, num_points * 2)

    def forward(self, x):
        x = self.model(x)
        x = F.adaptive_avg_pool2d(x, 1).squeeze(3).squeeze(2)
        return self.regress(x)
