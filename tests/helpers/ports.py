"""The networks that ports of DeepPose to PyTorch are made of, anew in plain torch.nn and narrow, for the tests."""

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BOUND = 1e-6


def torchvision_alexnet(outputs):
    """torchvision.models.alexnet, narrow."""

    class AlexNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                *(nn.Conv2d(3, 8, 11, 4, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(8, 12, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
                *(nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(inplace=True)),
                *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(inplace=True)),
                *(nn.Conv2d(16, 12, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)),
            )
            self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
            self.classifier = nn.Sequential(
                *(nn.Dropout(), nn.Linear(12 * 36, 32), nn.ReLU(inplace=True)),
                *(nn.Dropout(), nn.Linear(32, 24), nn.ReLU(inplace=True), nn.Linear(24, outputs)),
            )

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    return AlexNet()


class Block(nn.Module):
    """torchvision's BasicBlock and Bottleneck: the stride is on the 3x3 convolution, and so are groups."""

    def __init__(self, channels, middle, out, stride, groups=1):
        super().__init__()
        self.bottleneck = out != middle
        kernels = (1, 3, 1) if self.bottleneck else (3, 3)
        widths = (middle, middle, out) if self.bottleneck else (out, out)
        strided = 1 if self.bottleneck else 0
        for i, (kernel, width) in enumerate(zip(kernels, widths, strict=True)):
            step = stride if i == strided else 1
            inputs = channels if i == 0 else widths[i - 1]
            each = groups if kernel == 3 else 1
            setattr(self, f"conv{i + 1}", nn.Conv2d(inputs, width, kernel, step, kernel // 2, groups=each, bias=False))
            setattr(self, f"bn{i + 1}", nn.BatchNorm2d(width))
        self.downsample = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's ResNet of any depth, narrow; with groups a ResNeXt, with a factor a wide ResNet."""

    def __init__(self, depth, outputs, groups=1, factor=1):
        super().__init__()
        blocks = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}[depth]
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        channels = 4
        for stage, count in enumerate(blocks, start=1):
            middle = 2 * 2**stage
            out = 4 * middle if depth >= 50 else middle
            layers = []
            for i in range(count):
                layers.append(Block(channels, factor * middle, out, 2 if stage > 1 and i == 0 else 1, groups))
                channels = out
            setattr(self, f"layer{stage}", nn.Sequential(*layers))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, outputs)

    def maps(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    def forward(self, x):
        return self.fc(torch.flatten(self.avgpool(self.maps(x)), 1))


class Vgg(nn.Module):
    """torchvision's VGG of any depth, narrow, with any last layers."""

    def __init__(self, depth, normalized, classifier, side=7):
        super().__init__()
        stages = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}[depth]
        layers, channels = [], 3
        for count, width in zip(stages, (4, 6, 8, 8, 8), strict=True):
            for _ in range(count):
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                layers += [nn.BatchNorm2d(width)] if normalized else []
                layers.append(nn.ReLU(inplace=True))
                channels = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d((side, side))
        self.classifier = classifier

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


def vgg16_bn(outputs):
    """The network of WeightedLoss_DeepPose_PyTorch: torchvision's vgg16_bn as `model`, narrow."""
    classifier = nn.Sequential(
        *(nn.Linear(8 * 49, 20), nn.ReLU(True), nn.Dropout()),
        *(nn.Linear(20, 16), nn.ReLU(True), nn.Dropout(), nn.Linear(16, outputs)),
    )

    class HumanPoseNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Vgg(16, True, classifier)

        def forward(self, x):
            return self.model(x)

    return HumanPoseNet()


class HosseinPai(nn.Module):
    """CNN_Pos_D of HosseinPAI, narrow."""

    def __init__(self, outputs):
        super().__init__()
        self.Conv1 = nn.Conv2d(3, 8, 11, stride=4, padding=4)
        self.LRN1, self.MaxP1 = nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2)
        self.Conv2 = nn.Conv2d(8, 12, 5, padding=2)
        self.LRN2, self.MaxP2 = nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2)
        self.Conv3, self.Conv4 = nn.Conv2d(12, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.Conv5 = nn.Conv2d(16, 12, 3, padding=1)
        self.MaxP3, self.Dpout0 = nn.MaxPool2d(3, 2), nn.Dropout2d(0.6)
        self.FC1, self.FC2, self.FC3 = nn.Linear(12 * 36, 32), nn.Linear(32, 24), nn.Linear(24, outputs)

    def forward(self, x):
        x = self.MaxP1(self.LRN1(torch.relu(self.Conv1(x))))
        x = self.MaxP2(self.LRN2(torch.relu(self.Conv2(x))))
        x = torch.relu(self.Conv5(torch.relu(self.Conv4(torch.relu(self.Conv3(x))))))
        x = torch.flatten(self.Dpout0(self.MaxP3(x)), 1)
        return self.FC3(torch.relu(self.FC2(torch.relu(self.FC1(x)))))


class Ynaka81(nn.Module):
    """The AlexNet of DeepPoseComparison, narrow."""

    def __init__(self, outputs):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 11, stride=4), nn.Conv2d(8, 12, 5, padding=2)
        self.conv3, self.conv4 = nn.Conv2d(12, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.conv5 = nn.Conv2d(16, 12, 3, padding=1)
        self.fc6, self.fc7, self.fc8 = nn.Linear(12 * 36, 32), nn.Linear(32, 24), nn.Linear(24, outputs)

    def forward(self, x):
        x = functional.max_pool2d(torch.relu(self.conv1(x)), 3, stride=2)
        x = functional.max_pool2d(torch.relu(self.conv2(x)), 3, stride=2)
        x = torch.relu(self.conv5(torch.relu(self.conv4(torch.relu(self.conv3(x))))))
        x = functional.max_pool2d(x, 3, stride=2).view(-1, 12 * 36)
        return self.fc8(torch.relu(self.fc7(torch.relu(self.fc6(x))))).view(-1, self.fc8.out_features // 2, 2)


class MMPose(nn.Module):
    """TopdownPoseEstimator with a ResNet and a RegressionHead."""

    def __init__(self, depth, outputs, head):
        super().__init__()
        self.backbone = ResNet(depth, outputs)
        regression = nn.Module()
        regression.fc = self.backbone.fc
        del self.backbone.fc
        setattr(self, head, regression)

    def forward(self, x):
        head = self.head if hasattr(self, "head") else self.keypoint_head
        return head.fc(functional.adaptive_avg_pool2d(self.backbone.maps(x), 1).flatten(1))


def drawn(network, seed=0):
    """The network in evaluation mode, with random weights that let something through, and BatchNormalization's too."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.dim() > 1:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * (1.5 / tensor[0].numel()) ** 0.5)
        elif name.endswith("running_var") or (name.endswith("weight") and tensor.dim() == 1):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return network.eval()


def to_tensor(square, scale=255.0, mean=(0.0,) * 3, std=(1.0,) * 3):
    """torchvision's ToTensor and Normalize of a BGR picture, in RGB."""
    tensor = torch.from_numpy(square[:, :, ::-1].copy()).permute(2, 0, 1).float() / scale
    return ((tensor - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])[None]


def letterbox(picture, width, height, corners=False, box=None):
    """A box of a picture in an input of another shape, black around it, and the matrix from one to the other."""
    x, y, w, h = box or (0, 0, picture.shape[1], picture.shape[0])
    wide = max(w, h * width / height)
    less = 1 if corners else 0
    sx, sy = (width - less) / wide, (height - less) / (wide * height / width)
    matrix = np.array([[sx, 0, (width - less) / 2 - sx * (x + w / 2)], [0, sy, (height - less) / 2 - sy * (y + h / 2)]])
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR), matrix


def answer(network, inputs):
    with torch.inference_mode():
        return network(inputs).numpy().astype(np.float64).reshape(-1)


def back(points, matrix):
    return (points - matrix[:, 2]) / matrix.diagonal()


def assert_same(found, expected, bound=BOUND):
    """The same points to a millionth, or another part, of the largest coordinate."""
    assert found.shape == expected.shape
    assert np.abs(expected).max() > 0
    assert np.abs(found - expected).max() <= bound * np.abs(expected).max()
