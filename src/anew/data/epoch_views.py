"""The training examples of an epoch as a torch data set, for loops and loaders that are not
anew's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from anew.data.split import Data

Item = dict[str, Tensor]


class EpochViews(Dataset[Item]):
    """The training examples in the views that anew shows in an epoch, as a torch data set.

    Item i is a mapping: `inputs` (...) as they are stored, `labels` and `indices` (), which is i,
    and `views` (), the number of the view. What epoch e shows of example i is a function of the
    data's seed, e and i alone, whatever the order; a teacher is asked by `indices` and `views`.
    Call `set_epoch` before each epoch's loader is iterated; Hugging Face's trainer does so by
    itself. Raises `AnewError` if the views mix pictures.
    """

    def __init__(self, data: Data) -> None:
        data.views.check_unmixed()
        self.examples, self.seed, self.epoch = data.training, data.spec.seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Show the views of an epoch, from 0 on."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Item:
        """Return one example."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Item]:
        """Return several examples, shown together; a loader calls this for a batch."""
        chosen = torch.tensor(indices, dtype=torch.int64)
        views = self.examples.views.draw(self.seed, self.epoch, chosen)
        inputs = self.examples.show(chosen, views)
        labels = self.examples.labels[chosen]
        return [
            {"inputs": inputs[at], "labels": labels[at], "indices": chosen[at], "views": views[at]}
            for at in range(len(chosen))
        ]
