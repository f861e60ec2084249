class AlexNet(
