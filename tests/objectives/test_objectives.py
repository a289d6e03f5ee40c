"""Objectives against their closed forms, an independent NumPy implementation, and their mutual
properties.
"""

import itertools

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from anew import AnewError, objectives
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec
from anew.data import Batches, from_arrays, prepare
from anew.objectives import OBJECTIVES, Context, check_bounded, fill_options, find

ON_LOGITS = [name for name, one in OBJECTIVES.items() if "features" not in one.needs]
# Multiples of 1/64: two logits are equal or clearly different, so that rounding never decides which
# is the argmax.
LOGITS = st.integers(-30 * 64, 30 * 64).map(lambda number: number / 64)


@st.composite
def batches(draw, min_classes=2):
    """Student logits, teacher logits, labels and permutation keys, with one or two leading
    dimensions.
    """
    lead = draw(st.sampled_from([(1,), (4,), (7,), (2, 3)]))
    classes = draw(st.integers(min_classes, 6))
    z = draw(hnp.arrays(np.float64, (*lead, classes), elements=LOGITS))
    t = draw(hnp.arrays(np.float64, (*lead, classes), elements=LOGITS))
    y = draw(hnp.arrays(np.int64, lead, elements=st.integers(0, classes - 1)))
    r = draw(hnp.arrays(np.int64, (*lead, classes), elements=st.integers(-(2**62), 2**62)))
    return tuple(map(torch.from_numpy, (z, t, y, r)))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_softmax(x):
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def one_hot(y, classes):
    return np.eye(classes)[y]


def permuted(p, r):
    """Loop over rows: all but the argmax, in the order of the ranks of the keys."""
    flat, keys = p.reshape(-1, p.shape[-1]), r.reshape(-1, p.shape[-1])
    out = flat.copy()
    for row, key, new in zip(flat, keys, out, strict=True):
        others = [i for i in range(len(row)) if i != row.argmax()]
        new[others] = row[sorted(others, key=lambda i: key[i])]
    return out.reshape(p.shape)


def decoupled(z, t, y, temperature, alpha, beta, **_):
    """Each example's T^2 (alpha TCKD + beta NCKD) and its gradient, example by example, from the
    definitions of Zhao et al. 2022."""
    loss, gradient = np.zeros(y.shape), np.zeros(z.shape)
    for place in np.ndindex(y.shape):
        label = y[place]
        others = [i for i in range(z.shape[-1]) if i != label]
        log_q, log_p = log_softmax(z[place] / temperature), log_softmax(t[place] / temperature)
        q_hat, p_hat = (softmax(x[place][others] / temperature) for x in (z, t))
        rest_q, rest_p = (np.logaddexp.reduce(x[others]) for x in (log_q, log_p))

        target = np.exp(log_p[label]) * (log_p[label] - log_q[label])
        target += np.exp(rest_p) * (rest_p - rest_q)
        log_hats = [log_softmax(x[place][others] / temperature) for x in (t, z)]
        rank = (p_hat * (log_hats[0] - log_hats[1])).sum()
        loss[place] = temperature**2 * (alpha * target + beta * rank)

        surer = np.exp(log_q[label]) - np.exp(log_p[label])
        gradient[place][label] = temperature * alpha * surer
        gradient[place][others] = temperature * (beta * (q_hat - p_hat) - alpha * surer * q_hat)
    return loss, gradient


def bounded(labels, paid, target):
    """Weights of labels below 0, no further than each class of the target is paid for."""
    with np.errstate(divide="ignore", over="ignore"):  # A tiny smoothing: no bound.
        ratios = np.where(target > 0, paid / np.where(target > 0, target, 1), np.inf)
    return -np.minimum(-labels, ratios.min(-1))


def numpy_loss_and_gradient(name, z, t, y, r, v=None, **options):
    """The loss and its closed-form gradient with respect to z, written from design's formulas in
    NumPy float64. `v` are the weights of the examples' labels.
    """
    v = np.ones(y.shape) if v is None else v
    each = v[..., None]
    count, classes = y.size, z.shape[-1]
    q, p, hot = softmax(z), softmax(t), one_hot(y, z.shape[-1])
    cross = lambda target, logits: -(target * log_softmax(logits)).sum(-1)  # noqa: E731
    if name == "label":
        target = (1 - options["smoothing"]) * hot + options["smoothing"] / classes
        return (v * cross(target, z)).mean(), each * (q - target) / count
    smoothed = hot
    if "label_smoothing" in options:
        smoothed = hot + options["label_smoothing"] * (1 / classes - hot)
    if name == "kd":
        temperature, alpha = options["temperature"], options["alpha"]
        soft = softmax(t / temperature)
        labels = (1 - alpha) * v
        if options["bounded"] and alpha > 1:
            labels = bounded(labels, alpha * temperature * soft, smoothed)
        loss = (
            alpha * temperature**2 * cross(soft, z / temperature).mean()
            + (labels * cross(smoothed, z)).mean()
        )
        return loss, (
            alpha * temperature * (softmax(z / temperature) - soft)
            + np.asarray(labels)[..., None] * (q - smoothed)
        ) / count
    if name == "ban":
        return cross(p, z).mean(), (q - p) / count
    if name == "ban+l":
        w = options["label_weight"]
        labels = w * v
        if options["bounded"] and w < 0:
            labels = bounded(labels, (1 - w) * p, smoothed)
        return ((1 - w) * cross(p, z) + labels * cross(smoothed, z)).mean(), (
            (1 - w) * (q - p) + np.asarray(labels)[..., None] * (q - smoothed)
        ) / count
    if name == "dkd":
        loss, gradient = decoupled(z, t, y, **options)
        w = options["label_weight"]
        return (v * (loss + w * cross(hot, z))).mean(), each * (gradient + w * (q - hot)) / count
    if name == "cwtm":
        w = p.max(-1) / p.max(-1).sum()
        return (w * v * cross(hot, z)).sum(), w[..., None] * each * (q - hot)
    if name == "teacher-smoothing":
        c = p.max(-1).mean()
        target = np.where(hot == 1, c, (1 - c) / (classes - 1))
        return (v * cross(target, z)).mean(), each * (q - target) / count
    if name == "argmax-smoothing":
        c = p.max(-1, keepdims=True)
        target = np.where(one_hot(p.argmax(-1), classes) == 1, c, (1 - c) / (classes - 1))
        return cross(target, z).mean(), (q - target) / count
    target = permuted(p, r)
    return cross(target, z).mean(), (q - target) / count


OPTIONS = {
    "label": {"smoothing": st.floats(0, 1)},
    "kd": {
        "temperature": st.floats(0.3, 20),
        "alpha": st.floats(0, 2),
        "label_smoothing": st.floats(0, 1),
        **dict.fromkeys(("temperature_end", "alpha_end"), st.just(np.inf)),
        "standardise": st.just(0.0),
        "bounded": st.sampled_from([0.0, 1.0]),
    },
    "ban+l": {
        "label_weight": st.floats(-1, 1),
        "label_weight_end": st.just(np.inf),
        "label_smoothing": st.floats(0, 1),
        "bounded": st.sampled_from([0.0, 1.0]),
    },
    "dkd": {
        "temperature": st.floats(0.3, 20),
        "alpha": st.floats(0, 3),
        "beta": st.floats(0, 9),
        "label_weight": st.floats(0, 2),
        "standardise": st.just(0.0),
    },
    # When the permutation is drawn; the permutation is given here.
    "dkpp": {"redraw": st.sampled_from([0.0, 1.0])},
}


BY_ARGMAX = ("dkpp", "argmax-smoothing")


def evaluate(name, z, t, y, r, v=None, **options):
    z = z.clone().requires_grad_()
    loss = find(name).terms(Context(z, y, t, r, weights=v), **options).total()
    (gradient,) = torch.autograd.grad(loss, z)
    return loss, gradient


@pytest.mark.parametrize("name", ON_LOGITS)
@given(data=st.data(), batch=batches())
@settings(deadline=None)
def test_value_and_gradient_equal_numpy_and_closed_form(name, data, batch):
    options = {key: data.draw(values) for key, values in OPTIONS.get(name, {}).items()}
    loss, gradient = evaluate(name, *batch, **options)
    expected_loss, expected_gradient = numpy_loss_and_gradient(
        name, *(x.numpy() for x in batch), **options
    )
    assert loss.item() == pytest.approx(expected_loss, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(gradient.numpy(), expected_gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ON_LOGITS)
@given(data=st.data(), batch=batches())
@settings(deadline=None, max_examples=30)
def test_weights_multiply_what_compares_with_labels_and_nothing_else(name, data, batch):
    options = {key: data.draw(values) for key, values in OPTIONS.get(name, {}).items()}
    weights = data.draw(hnp.arrays(np.float64, tuple(batch[2].shape), elements=st.floats(0, 5)))
    loss, gradient = evaluate(name, *batch, torch.from_numpy(weights), **options)
    expected_loss, expected_gradient = numpy_loss_and_gradient(
        name, *(x.numpy() for x in batch), weights, **options
    )
    assert loss.item() == pytest.approx(expected_loss, rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(gradient.numpy(), expected_gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ON_LOGITS)
@given(data=st.data(), batch=batches())
@settings(deadline=None)
def test_labels_of_mixed_pictures_count_by_their_shares(name, data, batch):
    """Loss and gradient are linear in the label, so those of two labels are a weighted mean of
    each example's own; what compares with the teacher alone is as it was.
    """
    z, t, y, r = (
        tensor.flatten(0, tensor.ndim - 2) if tensor.ndim > 2 else tensor for tensor in batch
    )
    y = y.flatten()
    options = {key: data.draw(values) for key, values in OPTIONS.get(name, {}).items()}
    # What is paid for is shared by two labels of one class: a test of its own.
    options |= {"bounded": 0.0} if "bounded" in options else {}
    generator = torch.Generator().manual_seed(0)
    second = torch.randint(0, z.shape[-1], y.shape, generator=generator)
    share = torch.rand(y.shape, generator=generator, dtype=torch.float64)

    leaf = z.clone().requires_grad_()
    context = Context(leaf, y, t, r, weights=share, second=(second, 1 - share))
    loss = find(name).terms(context, **options).total()
    (gradient,) = torch.autograd.grad(loss, leaf)

    one, other = (
        numpy_loss_and_gradient(name, z.numpy(), t.numpy(), labels.numpy(), r.numpy(), **options)[1]
        for labels in (y, second)
    )
    weight = share.numpy()[:, None]
    expected = weight * one + (1 - weight) * other
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-9, atol=1e-9)
    # Two equal labels are one.
    same = Context(z, y, t, r, weights=share, second=(y, 1 - share))
    alone = find(name).terms(Context(z, y, t, r), **options).total()
    torch.testing.assert_close(find(name).terms(same, **options).total(), alone)


@pytest.mark.parametrize("name", ON_LOGITS)
def test_gradient_equals_finite_differences(name):
    generator = torch.Generator().manual_seed(0)
    z, t = (torch.randn(3, 4, dtype=torch.float64, generator=generator) for _ in range(2))
    y, r = torch.tensor([0, 3, 1]), torch.randint(0, 1000, (3, 4), generator=generator)
    options = fill_options(ObjectiveSpec(name))
    assert torch.autograd.gradcheck(
        lambda x: find(name).terms(Context(x, y, t, r), **options).total(),
        z.requires_grad_(),
        eps=1e-6,
        atol=1e-8,
    )


@given(batch=batches())
@settings(deadline=None)
def test_kd_at_temperature_one_and_alpha_one_is_ban(batch):
    z, t, y, _ = batch
    torch.testing.assert_close(
        objectives.kd(z, t, y, temperature=1.0, alpha=1.0), objectives.ban(z, t)
    )


@given(batch=batches(min_classes=3))
@settings(deadline=None)
def test_distillation_is_its_two_parts_with_the_teachers_weight(batch):
    """Zhao et al. 2022, equation 7: KL(p || q) = TCKD + (1 - p_y) NCKD, here of one example."""
    z, t = (x.flatten(0, -2)[:1] for x in batch[:2])
    y = batch[2].flatten()[:1]
    p = torch.softmax(t, -1)
    divergence = (p * (torch.log_softmax(t, -1) - torch.log_softmax(z, -1))).sum()
    # The rest is added up, not taken from 1: it may be 1e-26.
    rest = p.scatter(1, y[:, None], 0).sum().item()
    both = objectives.dkd(z, t, y, temperature=1.0, alpha=1.0, beta=rest)
    torch.testing.assert_close(both, divergence, rtol=1e-9, atol=1e-9)


@given(batch=batches(), shift=st.floats(-50, 50), scale=st.floats(0.1, 50))
@settings(deadline=None)
def test_standardised_logits_have_mean_0_and_deviation_1_whatever_their_size(batch, shift, scale):
    z = batch[0]
    rows = z.reshape(-1, z.shape[-1]).numpy()
    for row, ours in zip(rows, objectives.standardise(z).reshape(rows.shape), strict=True):
        wide = row.std(ddof=1)
        np.testing.assert_allclose(ours.numpy(), (row - row.mean()) / (wide + 1e-7), atol=1e-9)
        if wide > 0.1:
            moved = objectives.standardise(torch.tensor(row * scale + shift))
            # What keeps a deviation of 0 from dividing counts more, the smaller the deviation is.
            bound = 2e-7 * float(ours.abs().max()) / (wide * min(scale, 1.0))
            np.testing.assert_allclose(moved.numpy(), ours.numpy(), atol=bound + 1e-9)
    options = fill_options(ObjectiveSpec.of("kd", standardise="yes", alpha=1.0, temperature=2.0))
    _, t, y, _ = batch
    loss = find("kd").terms(Context(z, y, t), **options).total()
    by_hand = 4 * objectives.ban(objectives.standardise(z) / 2, objectives.standardise(t) / 2)
    torch.testing.assert_close(loss, by_hand)


@pytest.mark.parametrize(
    ("name", "start", "end", "halfway"),
    [
        ("kd", {"alpha": 1.0}, {"alpha_end": 0.0}, {"alpha": 0.5}),
        ("kd", {"temperature": 8.0}, {"temperature_end": 1.0}, {"temperature": 4.5}),
        ("ban+l", {"label_weight": 0.0}, {"label_weight_end": 1.0}, {"label_weight": 0.5}),
    ],
)
def test_schedules_go_from_start_to_end_in_equal_steps(name, start, end, halfway):
    generator = torch.Generator().manual_seed(0)
    z, t = (torch.randn(5, 4, generator=generator) for _ in range(2))
    y = torch.tensor([0, 1, 2, 3, 0])

    def loss(progress, **given):
        options = fill_options(ObjectiveSpec.of(name, **given))
        return find(name).terms(Context(z, y, t, progress=progress), **options).total()

    assert loss(0.0, **start, **end) == loss(0.0, **start)
    torch.testing.assert_close(loss(0.5, **start, **end), loss(0.5, **halfway))
    assert loss(0.5, **start) == loss(0.0, **start)


@pytest.mark.parametrize(
    ("name", "options", "weight"),
    [("kd", {"alpha": 2.0}, 1.0), ("kd", {"alpha": 1.4, "temperature": 2.0}, 0.4),
     ("ban+l", {"label_weight": -1.0}, 1.0)],
)  # fmt: skip
@given(batch=batches(min_classes=3), far=st.floats(200, 1e4))
@settings(deadline=None, max_examples=40)
def test_subtracted_labels_that_are_paid_for_leave_a_lower_bound(name, options, weight, batch, far):
    """At least -w log C wherever the student's logits go, while without the bound they sink."""
    z, t, y, r = batch
    filled = fill_options(ObjectiveSpec.of(name, bounded="yes", **options))
    least = -weight * np.log(z.shape[-1]) - 1e-6
    away = z.clone().scatter_(-1, y[..., None], -far)
    other = far * torch.eye(z.shape[-1], dtype=z.dtype)[(y + 1) % z.shape[-1]]
    for logits in (z, away, other, far * z):
        assert evaluate(name, logits, t, y, r, **filled)[0].item() >= least

    # A teacher that is sure of another class pays nothing for the label.
    unsure = torch.where(torch.nn.functional.one_hot(y, z.shape[-1]).bool(), -1e3, 0.0).double()
    free = {**filled, "bounded": 0.0}
    away = torch.zeros_like(z).scatter_(-1, y[..., None], -far)
    assert evaluate(name, away, unsure, y, r, **free)[0].item() < -weight * far / 2 + 20
    assert evaluate(name, away, unsure, y, r, **filled)[0].item() >= least


def test_two_labels_of_one_class_share_what_is_paid_for():
    z = torch.tensor([[-1e3, 0.0, 0.0]], dtype=torch.float64)
    t = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)
    y, half = torch.tensor([0]), torch.tensor([0.5], dtype=torch.float64)
    options = fill_options(ObjectiveSpec.of("ban+l", label_weight=-1.0, bounded="yes"))
    for second in (0, 2):
        context = Context(z, y, t, weights=half, second=(torch.tensor([second]), half))
        loss = find("ban+l").terms(context, **options).total()
        p = t.softmax(-1)[0]
        paid = min(0.5, 2 * p[0].item()) if second else 2 * min(0.5, p[0].item())
        rest = min(0.5, 2 * p[2].item()) * np.log(2) if second else 0.0
        wanted = 2000 * p[0].item() + 2 * (1 - p[0].item()) * np.log(2) - 1000 * paid - rest
        assert loss.item() == pytest.approx(wanted, rel=1e-5)


def test_kd_that_subtracts_labels_without_a_bound_is_refused():
    check_bounded(ObjectiveSpec.of("kd", alpha=1.0))
    check_bounded(ObjectiveSpec.of("kd", alpha=2.0, bounded="yes"))
    check_bounded(ObjectiveSpec.of("ban+l", label_weight=-0.5))
    for options in ({"alpha": 1.1}, {"alpha": 0.5, "alpha_end": 1.5}):
        with pytest.raises(AnewError, match=r"set --objective\.bounded yes"):
            check_bounded(ObjectiveSpec.of("kd", **options))
    with pytest.raises(AnewError, match="with standardised logits the loss has no bound"):
        check_bounded(ObjectiveSpec.of("kd", alpha=2.0, bounded="yes", standardise="yes"))


def test_options_that_came_later_are_left_out_of_ids():
    for name in ("kd", "ban+l"):
        before = {"temperature", "alpha"} if name == "kd" else {"label_weight"}
        assert {option for option, _ in objectives.fill(ObjectiveSpec(name)).options} == before


def test_attention_transfer_is_its_definition_and_follows_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 2, 4, 5), (3, 6, 2, 2)), ((3, 4, 4, 5), (3, 6, 2, 2))
    student, teacher = (
        [torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in of]
        for of in shapes
    )

    def attention(maps):
        flat = (maps**2).mean(1).reshape(len(maps), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)

    expected = sum(
        np.mean((attention(s.numpy()) - attention(t.numpy())) ** 2)
        for s, t in zip(student, teacher, strict=True)
    )
    leaves = [one.clone().requires_grad_() for one in student]
    loss = objectives.attention_transfer(leaves, teacher)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(
        lambda *maps: objectives.attention_transfer(maps, teacher), leaves
    )
    # Where student and teacher look at the same places, how strongly does not matter.
    same = objectives.attention_transfer([3 * one for one in student], student)
    assert same.item() == pytest.approx(0, abs=1e-15)

    z, y = torch.randn(3, 4, dtype=torch.float64, generator=generator), torch.tensor([0, 1, 3])
    named = [{str(place): maps for place, maps in enumerate(of)} for of in (student, teacher)]
    context = Context(z, y, z, features=named[0], teacher_features=named[1])
    total = find("at").terms(context, beta=10.0, smoothing=0.1).total()
    torch.testing.assert_close(total.item(), 10 * expected + objectives.label(z, y, 0.1).item())


def test_maps_that_cannot_be_compared_are_refused():
    with pytest.raises(AnewError, match="does not know the feature maps of model 'mlp'"):
        find("at").features_of(ModelSpec("mlp"))
    assert find("at").features_of(ModelSpec("resnet-18")) == ("blocks",)
    with pytest.raises(AnewError, match="height and width must agree"):
        find("at").module({"blocks": (8, 4, 4)}, {"blocks": (8, 8, 8)})


@given(batch=batches())
@settings(deadline=None)
def test_a_teacher_sure_of_the_labels_makes_all_objectives_the_label_loss(batch):
    z, _, y, _ = batch
    sure = torch.where(torch.nn.functional.one_hot(y, z.shape[-1]).bool(), 0.0, -1e4).double()
    expected = objectives.label(z, y)
    losses = [objectives.ban(z, sure)]
    losses += [
        of(z, sure, y) for of in (objectives.ban_l, objectives.cwtm, objectives.teacher_smoothing)
    ]
    for loss in losses:
        torch.testing.assert_close(loss, expected)


@given(batch=batches())
@settings(deadline=None)
def test_teacher_smoothing_is_label_smoothing_and_knows_the_mean_confidence_alone(batch):
    z, t, y, _ = batch
    classes = z.shape[-1]
    c = torch.softmax(t, -1).amax(-1).mean().item()
    loss = objectives.teacher_smoothing(z, t, y)
    torch.testing.assert_close(
        loss, objectives.label(z, y, min(1.0, (1 - c) * classes / (classes - 1)))
    )
    # Whichever class the teacher is sure of, on whichever example: nothing of it is left.
    torch.testing.assert_close(objectives.teacher_smoothing(z, t.flip(-1).flip(0), y), loss)


@pytest.mark.parametrize("name", ON_LOGITS)
@given(batch=batches(), shift=st.floats(-100, 100))
@settings(deadline=None)
def test_adding_a_constant_to_logits_changes_nothing(name, batch, shift):
    z, t, y, r = batch
    options = fill_options(ObjectiveSpec(name))
    before, after = (
        evaluate(name, z, t, y, r, **options),
        evaluate(name, z + shift, t - shift, y, r, **options),
    )
    torch.testing.assert_close(before, after, rtol=1e-7, atol=1e-9)


# Of two classes that the teacher finds equally likely, the first is the argmax.
@pytest.mark.parametrize("name", [name for name in ON_LOGITS if name not in BY_ARGMAX])
@given(batch=batches(), data=st.data())
@settings(deadline=None)
def test_permuting_the_classes_permutes_the_gradient(name, batch, data):
    z, t, y, r = batch
    order = torch.tensor(data.draw(st.permutations(range(z.shape[-1]))))
    options = fill_options(ObjectiveSpec(name))
    _, gradient = evaluate(name, z, t, y, r, **options)
    _, moved = evaluate(name, z[..., order], t[..., order], torch.argsort(order)[y], r, **options)
    torch.testing.assert_close(moved, gradient[..., order])


@given(batch=batches())
@settings(deadline=None)
def test_permuted_dark_knowledge_keeps_the_argmax_and_the_values(batch):
    _, t, _, r = batch
    p = torch.softmax(t, -1)
    new = objectives.permute_dark_knowledge(p, r)
    torch.testing.assert_close(new.sum(-1), torch.ones_like(new[..., 0]))
    assert torch.equal(new.gather(-1, p.argmax(-1, keepdim=True)), p.amax(-1, keepdim=True))
    assert torch.equal(new.sort(-1).values, p.sort(-1).values)


def test_permuted_dark_knowledge_is_uniform_over_the_orders_of_the_rest():
    t = torch.tensor([0.0, 5.0, 1.0, 2.0]).expand(60_000, 4)
    new = objectives.permute_dark_knowledge(
        t, torch.randint(0, 2**62, t.shape, generator=torch.Generator().manual_seed(1))
    )
    _, counts = new.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert ((counts - 10_000).abs() < 5 * (10_000 * 5 / 6) ** 0.5).all()


@given(batch=batches())
@settings(deadline=None, max_examples=30)
def test_permutations_of_dark_knowledge_average_out_to_a_smoothed_argmax(batch):
    """The mean over all orders of the other classes, so what a permutation for each epoch is."""
    z, t, _, _ = batch
    orders = torch.tensor(list(itertools.permutations(range(z.shape[-1]))))
    losses = [objectives.dkpp(z, t, order.expand(t.shape)) for order in orders]
    expected = objectives.argmax_smoothing(z, t)
    torch.testing.assert_close(torch.stack(losses).mean(), expected, rtol=1e-9, atol=1e-9)


def test_a_permutation_is_redrawn_in_each_epoch_or_once_an_example():
    data = prepare(
        from_arrays((torch.arange(48).view(12, 2, 2) * 5, torch.arange(12) % 3)),
        DataSpec(views="none"),
    )
    drawn: dict[str, list[dict[int, list[int]]]] = {"epoch": [], "example": []}
    for redraw, found in drawn.items():
        for epoch in (0, 1):
            found.append({})
            for batch in Batches(data, 4, torch.device("cpu")).epoch(epoch):
                number = {"epoch": batch.epoch, "example": None}[redraw]
                rows = batch.permutation(0, 5, number)
                found[-1] |= dict(zip(batch.indices.tolist(), rows.tolist(), strict=True))
    # The last, short batch of an epoch is not shown.
    both = drawn["epoch"][0].keys() & drawn["epoch"][1].keys()
    assert len(both) >= 4
    assert all(drawn["example"][0][one] == drawn["example"][1][one] for one in both)
    assert all(drawn["epoch"][0][one] != drawn["epoch"][1][one] for one in both)


def test_when_a_permutation_is_redrawn_is_said_in_words_and_left_out_by_default():
    once = ObjectiveSpec.of("dkpp", redraw="example")
    assert objectives.fill(once).options == (("redraw", 0.0),)
    assert objectives.fill(ObjectiveSpec.of("dkpp", redraw="epoch")) == ObjectiveSpec("dkpp")
    with pytest.raises(AnewError, match="redraw must be epoch or example, got 'step'"):
        objectives.fill(ObjectiveSpec.of("dkpp", redraw="step"))


@given(batch=batches())
@settings(deadline=None)
def test_with_two_classes_dkpp_is_ban(batch):
    z, t, _, r = (x[..., :2] if x.ndim > 1 else x for x in batch)
    torch.testing.assert_close(objectives.dkpp(z, t, r), objectives.ban(z, t))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ON_LOGITS)
def test_finite_at_extreme_logits_and_in_half_precision(name, dtype):
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [0.0, 0.0, 0.0]], dtype=dtype)
    t, y, r = z.flip(0), torch.tensor([1, 0, 2]), torch.tensor([[3, 1, 2]] * 3)
    z = z.requires_grad_()
    options = fill_options(ObjectiveSpec(name))
    loss = find(name).terms(Context(z, y, t, r), **options).total()
    assert loss.dtype == torch.float32
    loss.backward()
    assert loss.isfinite()
    assert z.grad is not None and z.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    z, t = torch.randn(8, 100, dtype=torch.bfloat16), torch.randn(8, 100, dtype=torch.bfloat16)
    assert torch.equal(objectives.ban(z, t), objectives.ban(z.float(), t.float()))


def test_no_gradient_flows_into_the_teacher():
    z, t = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    y, r = torch.tensor([0, 1, 2, 0]), torch.randint(0, 9, (4, 3))
    for name in ON_LOGITS:
        one = find(name)
        if "teacher" in one.needs:
            options = fill_options(ObjectiveSpec(name))
            one.terms(Context(z, y, t, r), **options).total().backward()
    assert t.grad is None
    assert z.grad is not None


@given(hnp.arrays(np.float64, (3, 4, 5), elements=LOGITS))
@settings(deadline=None)
def test_several_teachers_speak_with_the_mean_of_their_probabilities(logits):
    mean = objectives.mean_of_teachers(torch.from_numpy(logits))
    np.testing.assert_allclose(
        torch.softmax(mean, -1).numpy(), softmax(logits).mean(0), rtol=1e-10, atol=1e-12
    )


def test_classes_that_differ_are_refused():
    """As users run it: without the check of annotated shapes that the tests install."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(AnewError, match=r"\(4, 10\).*\(4, 100\).*same classes"):
            objectives.ban(torch.zeros(4, 10), torch.zeros(4, 100))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_annotated_shapes_are_checked_in_the_tests():
    with pytest.raises(TypeError, match=r"dimension classes is 100 .* value of 10"):
        objectives.ban(torch.zeros(4, 10), torch.zeros(4, 100))


def test_unknown_objective_names_the_nearest():
    with pytest.raises(AnewError, match="did you mean 'dkpp'"):
        find("dkp")


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        (
            "kd",
            {"temperature": -1.0},
            "objective 'kd': temperature must be > 0 and <= 1,000, got -1; set "
            "--objective.temperature",
        ),
        ("kd", {"temperature": 0.0}, "temperature must be > 0"),
        ("kd", {"alpha": 2.5}, "alpha must be >= 0 and <= 2, got 2.5"),
        ("ban+l", {"label_weight": 2.0}, "label_weight must be .* set --objective.label-weight"),
        ("ban", {"temperature": 2.0}, "objective 'ban' takes no temperature"),
    ],
)
def test_wrong_options_are_refused(name, options, says):
    with pytest.raises(AnewError, match=says):
        fill_options(ObjectiveSpec.of(name, **options))
