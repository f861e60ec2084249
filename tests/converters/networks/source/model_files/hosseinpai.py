import torch
from torch import nn


class DeepPose(nn.Module):
    def __init__(self):
        super(DeepPose, self).__init__()
        self.Conv1 = nn.Conv2d(in_channels=3, out_channels=96, kernel_size=(11, 11), stride=4, padding=4)
        self.LRN1 = nn.LocalResponseNorm(5)
        self.Pool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Conv2 = nn.Conv2d(in_channels=96, out_channels=256, kernel_size=(5, 5), padding=2)
        self.LRN2 = nn.LocalResponseNorm(5)
        self.Pool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Conv3 = nn.Conv2d(in_channels=256, out_channels=384, kernel_size=(3, 3), padding=1)
        self.Conv4 = nn.Conv2d(in_channels=384, out_channels=384, kernel_size=(3, 3), padding=1)
        self.Conv5 = nn.Conv2d(in_channels=384, out_channels=256, kernel_size=(3, 3), padding=1)
        self.Pool3 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.Drop = nn.Dropout2d(p=0.6)
        self.FC1 = nn.Linear(in_features=9216, out_features=4096)
        self.FC2 = nn.Linear(in_features=4096, out_features=4096)
        self.FC3 = nn.Linear(in_features=4096, out_features=28)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.Pool1(self.LRN1(self.relu(self.Conv1(x))))
        x = self.Pool2(self.LRN2(self.relu(self.Conv2(x))))
        x = self.relu(self.Conv3(x))
        x = self.relu(self.Conv4(x))
        x = self.Pool3(self.relu(self.Conv5(x)))
        x = self.Drop(x)
        x = torch.flatten(x, start_dim=1)
        x = self.relu(self.FC1(x))
        x = self.relu(self.FC2(x))
        x = self.FC3(x)
        return x


if __name__ == '__main__':
    model = DeepPose()
    print(model(torch.rand(1, 3, 220, 220)).shape)
