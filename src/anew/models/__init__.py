"""Architectures, by name: anew's own, timm's, torchvision's and the user's."""

from anew.models.building import (
    Entry,
    build,
    build_for,
    catalogue,
    is_foreign,
    is_own_code,
    language_models,
    outline,
    outline_for,
    spelled,
)
from anew.models.densenet import DenseNet
from anew.models.matched_resnet import MatchedResNet
from anew.models.own_code import changes, code_of
from anew.models.pre_activation_resnet import PreActivationResNet
from anew.models.resnet import ResNet
from anew.models.small import MLP, LeNet, SmallCNN
from anew.models.wide_resnet import WideResNet

__all__ = [
    "MLP",
    "DenseNet",
    "Entry",
    "LeNet",
    "MatchedResNet",
    "PreActivationResNet",
    "ResNet",
    "SmallCNN",
    "WideResNet",
    "build",
    "build_for",
    "catalogue",
    "changes",
    "code_of",
    "is_foreign",
    "is_own_code",
    "language_models",
    "outline",
    "outline_for",
    "spelled",
]
