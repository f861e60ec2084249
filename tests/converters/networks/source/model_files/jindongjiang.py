import torch.nn as nn
import torchvision.models as models


class PoseVGG(nn.Module):
    def __init__(self, num_out):
        super(PoseVGG, self).__init__()
        self.model = models.vgg16_bn(pretrained=True)
        layers = list(self.model.classifier.children())[:-1]
        layers.append(nn.Linear(4096, num_out))
        self.model.classifier = nn.Sequential(*layers)
        for m in self.model.classifier:
            if isinstance(m, nn.Linear):
                m.weight.data.normal_(0, 0.01)
                m.bias.data.zero_()

    def forward(self, x):
        return self.model(x)
