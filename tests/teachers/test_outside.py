"""A teacher asked from outside, and an epoch's views as a torch data set: the same numbers as in
anew's own loop.
"""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import anew
from anew import AnewError
from anew.core.spec import DataSpec
from anew.data import Batches, EpochViews
from runs import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(arrays, tmp_path_factory):
    place = tmp_path_factory.mktemp("outside")
    return train(arrays, place / "family", generations=1, views="crop+flip")


@pytest.fixture(scope="module")
def mixed(arrays):
    return anew.data.prepare(anew.data.from_arrays(arrays), DataSpec(views="flip+mixup"))


def by_hand(networks, inputs):
    """The log of the mean of probabilities in float64."""
    with torch.inference_mode():
        logits = torch.stack([network(inputs).double() for network in networks])
    return logits.softmax(-1).mean(0)


@pytest.mark.parametrize("members", [(0,), (0, 1)])
def test_targets_are_the_networks_answers_to_exactly_these_views(trained, members):
    networks = [trained.network(number) for number in members]
    indices, views = torch.tensor([3, 170, 3, 0]), torch.tensor([0, 161, 44, 9])
    shown = trained.data.training.show(indices, views)
    with anew.teacher(networks, trained.data, batch_size=16) as teacher:
        targets = teacher(indices, views)
    np.testing.assert_allclose(targets.softmax(-1), by_hand(networks, shown), atol=5e-4)
    assert targets.dtype == torch.float32


def test_an_epochs_batches_are_those_of_anews_own_loop(trained):
    teacher = anew.teacher(trained.network(0), trained.data, batch_size=16)
    own = list(Batches(trained.data, 16, CPU).epoch(2))
    for ours, (batch, targets) in zip(own, teacher.epoch(2), strict=True):
        assert ours.inputs.equal(batch.inputs)
        assert ours.indices.equal(batch.indices)
        assert teacher(batch.indices, batch.views).equal(targets)


def test_a_store_asks_about_no_view_twice_and_changes_no_bit(trained, tmp_path):
    network = trained.network(0)
    live = anew.teacher(network, trained.data, batch_size=16)
    expected = [targets for _, targets in live.epoch(0)]
    for run in range(2):
        with anew.teacher(network, trained.data, batch_size=16, store=tmp_path / "kept") as teacher:
            targets = [targets for _, targets in teacher.epoch(0)]
            assert all(one.equal(other) for one, other in zip(targets, expected, strict=True))
            # What is asked again is a sample, to compare: three batches.
            assert (teacher.teacher.asked > 48) == (run == 0)

    # Another network's answers lie elsewhere.
    other = anew.teacher(trained.network(1), trained.data, batch_size=16, store=tmp_path / "kept")
    assert not next(other.epoch(0))[1].equal(expected[0])
    other.close()


def test_what_is_given_stays_as_it_was(trained):
    network = trained.network(0).train()
    anew.teacher(network, trained.data)
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_shows_the_views_of_the_epoch(trained, workers):
    shown = EpochViews(trained.data)
    shown.set_epoch(3)
    in_order = {}
    for batch in Batches(trained.data, 8, CPU).epoch(3):
        for at, index in enumerate(batch.indices.tolist()):
            in_order[index] = (batch.inputs[at], batch.views[at], batch.labels[at])

    seen = 0
    for batch in DataLoader(shown, batch_size=7, shuffle=True, num_workers=workers):
        for at, index in enumerate(batch["indices"].tolist()):
            if index in in_order:
                inputs, view, label = in_order[index]
                assert batch["inputs"][at].equal(inputs)
                assert batch["views"][at] == view
                assert batch["labels"][at] == label
                seen += 1
    assert seen == len(in_order) > 0
    assert len(shown) == len(trained.data.training)
    assert shown[5]["indices"] == 5


def test_what_has_no_answer_by_its_number_is_refused(trained, mixed, arrays):
    with pytest.raises(AnewError, match="mix each picture"):
        EpochViews(mixed)
    teacher = anew.teacher(trained.network(0), mixed, batch_size=16)
    with pytest.raises(AnewError, match="mix each picture"):
        teacher(torch.tensor([0]), torch.tensor([0]))
    assert next(teacher.epoch(0))[1].shape == (16, 3)

    others = anew.data.from_arrays((arrays[0], arrays[1] % 2))
    with pytest.raises(AnewError, match="teacher"):
        anew.teacher(trained.network(0), anew.data.prepare(others, DataSpec()))


def test_views_that_cannot_be_counted_are_asked_each_time(trained, arrays, tmp_path):
    data = anew.data.prepare(anew.data.from_arrays(arrays), DataSpec(views="resized-crop"))
    said = []
    network = trained.network(0)
    teacher = anew.teacher(network, data, batch_size=16, store=tmp_path / "kept", log=said.append)
    batch, targets = next(teacher.epoch(1))
    assert teacher(batch.indices, batch.views).equal(targets)
    assert len(said) == 1
    assert "are not cached" in said[0]
    assert not (tmp_path / "kept").exists()
