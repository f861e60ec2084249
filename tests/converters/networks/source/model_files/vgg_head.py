import torch.nn as nn
from torchvision.models import vgg19


class Regressor(nn.Module):
    def __init__(self, num_joints):
        super().__init__()
        self.features = vgg19(pretrained=True).features
        self.fc = nn.Sequential(
            nn.Linear(512 * 7 * 7, 1024), nn.ReLU(True), nn.Dropout(), nn.Linear(1024, 2 * num_joints)
        )

    def forward(self, x):
        x = self.features(x)
        x = x.view(x.size(0), -1)
        return self.fc(x)
