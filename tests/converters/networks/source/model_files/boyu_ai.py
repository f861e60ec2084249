# three stages that share the features of a ResNet without its pooling
import torch
import torch.nn as nn
from torchvision import models


class DeepPose(nn.Module):
    def __init__(self, num_keypoints=17, num_stages=3, hidden=512):
        super().__init__()
        resnet = models.resnet50(weights=models.ResNet50_Weights.DEFAULT)
        self.backbone = nn.Sequential(*list(resnet.children())[:-2])
        self.num_stages = num_stages
        self.regression_layers = nn.ModuleList()
        self.fc_layers = nn.ModuleList()
        for stage in range(num_stages):
            inputs = 2048 if stage == 0 else 2048 + num_keypoints * 2
            self.regression_layers.append(nn.Sequential(
                nn.Conv2d(inputs, hidden, kernel_size=3, padding=1),
                nn.BatchNorm2d(hidden),
                nn.ReLU(),
                nn.Conv2d(hidden, hidden, kernel_size=3, padding=1),
                nn.BatchNorm2d(hidden),
                nn.ReLU(),
                nn.Conv2d(hidden, num_keypoints * 2, kernel_size=1),
            ))
            self.fc_layers.append(nn.Linear(num_keypoints * 2, num_keypoints * 2))

    def forward(self, x):
        features = self.backbone(x)
        h = features
        outputs = []
        for i in range(self.num_stages):
            maps = self.regression_layers[i](h)
            pooled = maps.mean(dim=(2, 3))
            outputs.append(self.fc_layers[i](pooled))
            h = torch.cat([features, maps], dim=1)
        return outputs
