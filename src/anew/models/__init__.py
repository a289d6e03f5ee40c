"""Architectures, by name: anew's own, timm's, torchvision's and the user's."""

from anew.models.building import Entry, build, catalogue, is_own_code
from anew.models.densenet import DenseNet
from anew.models.resnet import ResNet
from anew.models.small import MLP, LeNet, SmallCNN
from anew.models.wide_resnet import WideResNet

__all__ = ["MLP", "DenseNet", "Entry", "LeNet", "ResNet", "SmallCNN", "WideResNet", "build", "catalogue", "is_own_code"]
