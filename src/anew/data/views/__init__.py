"""Augmentation: views of pictures, each a function of its number."""

from anew.data.views.views import Views

__all__ = ["Views"]
