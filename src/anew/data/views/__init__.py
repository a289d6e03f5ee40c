"""Augmentation: views of pictures, each a function of its number, and mixtures of two."""

from anew.data.views.mixing import Mixture
from anew.data.views.views import FRESH, Views

__all__ = ["FRESH", "Mixture", "Views"]
