"""Models: the paper's parameter counts, every shape and option, and one clear line for whatever
does not fit.
"""

import functools
import importlib
import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from anew import AnewError
from anew.core.spec import ModelSpec
from anew.data.signature import Signature
from anew.models import WideResNet, build, catalogue, outline, outline_for, spelled
from anew.models.architectures import ARCHITECTURES
from anew.models.densenet import DenseLayer, Transition
from anew.models.outlines import outlined
from anew.studies.networks import DENSE_ROWS

SMALL = ("wide_resnet-10-1", "densenet-10-4", "resnet18", "lenet", "mlp", "small_cnn")
OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, input_shape, classes, hidden=5):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(input_shape).numel(), hidden), nn.Linear(hidden, classes))

    def forward(self, x):
        return self.layers(x)

def one_logit_more(input_shape, classes):
    return Net(input_shape, classes + 1)

def no_module(input_shape, classes):
    return "a text"

def no_tensor(input_shape, classes):
    class Several(nn.Module):
        def forward(self, x):
            return [x]
    return Several()

def raises(input_shape, classes):
    raise RuntimeError("two\\nlines")

def raises_forward(input_shape, classes):
    class Raises(nn.Module):
        def forward(self, x):
            raise ValueError("two\\nlines")
    return Raises()

number = 3
"""  # noqa: E501


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def count(name, classes=10, shape=(3, 32, 32), **options):
    """Parameters of anew's own architecture, without memory for them: build's trial forward needs
    no weights.
    """
    with torch.device("meta"):
        for one in ARCHITECTURES:
            if (numbers := one.read_numbers(name)) is not None:
                return parameters(
                    one.build(shape, classes, numbers, {**one.spelled(numbers), **options})
                )
    raise AssertionError(name)


def conv(inside, outside, side, norm):
    """Weights of a convolution without bias, and the scale and shift of the norm over `norm`
    channels beside it.
    """
    return inside * outside * side * side + 2 * norm


def densenet_count(layers, growth, first, classes, channels=3):
    """DenseNet-BC, in closed form but for the sum over layers."""
    total, width = channels * first * 9, first
    for block in range(3):
        total += sum(
            conv(width + k * growth, 4 * growth, 1, width + k * growth)
            + conv(4 * growth, growth, 3, 4 * growth)
            for k in range(layers)
        )
        width += layers * growth
        if block < 2:
            total += conv(width, width // 2, 1, width)
            width //= 2
    return total + 2 * width + width * classes + classes


def resnet_count(blocks, bottleneck, classes, channels=3):
    """A residual network with a 3x3 stem, in closed form but for the sum over blocks."""
    total, width = conv(channels, 64, 3, 64), 64
    for stage, repeats in enumerate(blocks):
        inner = 64 << stage
        outer = 4 * inner if bottleneck else inner
        for block in range(repeats):
            if bottleneck:
                total += (
                    conv(width, inner, 1, inner)
                    + conv(inner, inner, 3, inner)
                    + conv(inner, outer, 1, outer)
                )
            else:
                total += conv(width, inner, 3, inner) + conv(inner, inner, 3, inner)
            total += conv(width, outer, 1, outer) if block == 0 and (stage or bottleneck) else 0
            width = outer
    return total + width * classes + classes


@pytest.mark.parametrize(
    "name, classes, millions",
    [
        ("wide_resnet-28-1", 100, "0.375"),
        ("wide_resnet-28-2", 100, "1.479"),
        ("wide_resnet-28-5", 100, "9.162"),
        ("wide_resnet-28-10", 100, "36.537"),
        ("densenet-90-60", 10, "16.17"),
        ("densenet-80-80", 10, "22.42"),
        ("densenet-80-120", 10, "50.36"),
        ("densenet-112-33", 10, "6.27"),
        ("densenet-112-33", 100, "6.36"),
    ],
)
def test_parameter_counts_are_the_papers(name, classes, millions):
    digits = len(millions.partition(".")[2])
    assert f"{count(name, classes) / 1e6:.{digits}f}" == millions


def test_the_names_of_the_papers_densenets_are_the_networks_of_its_tables():
    """The text gives a block of DenseNet-90-60 14 layers, and Table 5 three 1x1 convolutions."""
    shape, classes = (3, 32, 32), 100
    for name, spec in DENSE_ROWS.items():
        written = ModelSpec(f"densenet-{name.partition('-')[2]}")
        assert spelled(written) == spec
        with torch.device("meta"):
            assert parameters(build(written.name, shape, classes)) == count(
                spec.name, classes, **dict(spec.options)
            )
    model = outline("densenet-90-60", shape, classes)
    assert sum(isinstance(part, DenseLayer) for part in model.modules()) == 3 * 14
    assert sum(isinstance(part, Transition) for part in model.modules()) == 3
    # An option that is given stays.
    assert dict(spelled(ModelSpec("densenet-90-60", (("layers", 2),))).options) == {
        "first_channels": 120,
        "layers": 2,
        "transitions": 3,
    }


@pytest.mark.parametrize(
    "name, millions", [("densenet-90-60", "16.12"), ("densenet-80-80", "22.58")]
)
def test_a_stored_specification_without_options_is_the_network_of_version_0_1(name, millions):
    signature = Signature.of_shape((3, 32, 32), 100)
    assert f"{parameters(outline_for(signature, name)) / 1e6:.2f}" == millions


@pytest.mark.parametrize("depth, growth", [(10, 4), (40, 12), (100, 12), (190, 40)])
def test_densenets_that_the_paper_does_not_name_follow_the_usual_rule(depth, growth):
    assert count(f"densenet-{depth}-{growth}") == densenet_count(
        (depth - 4) // 6, growth, 2 * growth, 10
    )


def test_densenet_40_12_and_100_12_have_the_known_counts():
    assert count("densenet-40-12") == 176_122
    assert count("densenet-100-12") == 769_162  # 0.8 M in Huang et al. 2017


@pytest.mark.parametrize(
    "depth, blocks, bottleneck, known",
    [
        (18, (2, 2, 2, 2), False, 11_173_962),
        (34, (3, 4, 6, 3), False, 21_282_122),
        (50, (3, 4, 6, 3), True, 23_520_842),
        (101, (3, 4, 23, 3), True, 42_512_970),
        (152, (3, 8, 36, 3), True, 58_156_618),
    ],
)
def test_resnets_have_the_known_counts(depth, blocks, bottleneck, known):
    assert count(f"resnet{depth}") == resnet_count(blocks, bottleneck, 10) == known
    assert count(f"resnet{depth}", 7, (1, 8, 8)) == resnet_count(blocks, bottleneck, 7, 1)


@pytest.mark.parametrize(
    "shape, kept",
    [
        ((3, 32, 32), {"mlp", "lenet", "densenet-112-33"}),
        ((1, 8, 8), {"mlp", "small_cnn"}),
        ((20,), {"mlp"}),
    ],
)
def test_the_catalogue_counts_what_build_builds_and_leaves_out_what_cannot_be(shape, kept):
    entries = {entry.name: entry.parameters for entry in catalogue(shape, 5)}
    assert kept <= entries.keys()
    assert ("lenet" in entries) == (shape == (3, 32, 32))
    assert len(shape) == 3 or entries.keys() == {"mlp"}
    for name, millions in entries.items():
        if millions < 2_000_000:
            assert parameters(build(name, shape, 5)) == millions


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("height, width", [(8, 8), (28, 28), (32, 32), (33, 33), (28, 40)])
def test_every_size_of_picture_gives_one_logit_a_class(name, channels, height, width):
    height, width = (max(size, 12 if name == "lenet" else 0) for size in (height, width))
    with torch.no_grad():
        logits = build(name, (channels, height, width), 7)(torch.randn(2, channels, height, width))
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


LEAST = {
    "wide_resnet-10-1": 4,
    "densenet-10-4": 4,
    "resnet18": 8,
    "resnet50": 8,
    "lenet": 12,
    "small_cnn": 4,
}


@functools.cache
def names_in_the_catalogue(shape):
    return {entry.name for entry in catalogue(shape, 3)}


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_the_least_size_of_picture_is_taken_and_a_smaller_one_refused(name, least):
    assert f"{least}x{least} and more" in type(model := build(name, (1, least, least), 3)).__doc__
    # At the least size, the last stage still sees every row and column.
    assert model.train()(torch.randn(2, 1, least, least)).isfinite().all()
    for shape in ((1, least - 1, least - 1), (1, least, least - 1), (1, least - 1, 40), (3, 1, 1)):
        inputs = "x".join(map(str, shape))
        with pytest.raises(
            AnewError,
            match=f"takes pictures of {least}x{least} and more, but the inputs are {inputs}",
        ):
            build(name, shape, 3)
        assert name not in names_in_the_catalogue(shape)
    assert "mlp" in names_in_the_catalogue((3, 1, 1))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_there_may_be_2_to_1000_classes(name, classes):
    assert build(name, (1, 12, 12), classes)(torch.randn(2, 1, 12, 12)).shape == (2, classes)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    model = build(name, (3, 16, 16), 4)
    nn.functional.cross_entropy(model(torch.randn(8, 3, 16, 16)), torch.arange(8) % 4).backward()
    still = [
        key
        for key, one in model.named_parameters()
        if one.grad is None or not one.grad.abs().sum() > 0
    ]
    assert not still


@pytest.mark.parametrize(
    "name, options",
    [
        ("wide_resnet-10-1", {"dropout": 0.5}),
        ("densenet-10-4", {"dropout": 0.5}),
        ("mlp", {"dropout": 0.5}),
        ("small_cnn", {"dropout": 0.5, "width": 8}),
    ],
)
def test_dropout_drops_in_train_mode_only(name, options):
    torch.manual_seed(0)
    inputs = torch.randn(4, 1, 12, 12)
    model = build(name, (1, 12, 12), 5, options)
    model(inputs)
    assert not torch.equal(model(inputs), model(inputs))
    model.eval()
    assert torch.equal(model(inputs), model(inputs))
    plain = build(name, (1, 12, 12), 5, {**options, "dropout": 0.0})
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain.eval()(inputs), model(inputs))
    assert torch.equal(plain.train()(inputs), plain(inputs))


@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("densenet-40-12", {"layers": 3}, densenet_count(3, 12, 24, 10)),
        ("densenet-40-12", {"first_channels": 10}, densenet_count(6, 12, 10, 10)),
        (
            "densenet-80-80",
            {"layers": 2, "first_channels": 160, "transitions": 2},
            densenet_count(2, 80, 160, 10),
        ),
        ("densenet-41-12", {"layers": 6}, densenet_count(6, 12, 24, 10)),
        ("mlp", {"hidden": 7, "layers": 3}, 3072 * 7 + 7 + 2 * (7 * 7 + 7) + 7 * 10 + 10),
        ("mlp", {"layers": 0}, 3072 * 10 + 10),
        (
            "small_cnn",
            {"width": 5},
            conv(3, 5, 3, 5) + conv(5, 5, 3, 5) + conv(5, 10, 3, 10) + conv(10, 10, 3, 10) + 110,
        ),
    ],
)
def test_options_give_the_network_that_they_say(name, options, expected):
    assert parameters(build(name, (3, 32, 32), 10, options)) == expected


def test_compression_and_bottleneck_change_a_densenets_width():
    usual = count("densenet-40-12")
    assert (
        count("densenet-40-12", compression=1.0) > usual > count("densenet-40-12", compression=0.1)
    )
    assert count("densenet-40-12", bottleneck=8) > usual > count("densenet-40-12", bottleneck=1)
    widest = build("densenet-40-12", (3, 8, 8), 10, {"compression": 1.0})
    assert widest.classifier.in_features == 24 + 18 * 12


@pytest.mark.parametrize("name", [*SMALL, "timm:resnet18"])
def test_build_leaves_mode_and_batch_norm_statistics_as_they_begin(name):
    model = build(name, (3, 16, 16), 3)
    assert all(module.training for module in model.modules())
    for norm in (one for one in model.modules() if isinstance(one, nn.BatchNorm2d)):
        assert norm.num_batches_tracked == 0
        assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
        assert torch.equal(norm.running_var, torch.ones_like(norm.running_var))


@pytest.mark.parametrize("name", SMALL)
def test_first_weights_are_a_function_of_torchs_seed(name):
    first, again, other = (
        (torch.manual_seed(seed), build(name, (1, 12, 12), 3).state_dict())[1] for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_convolutions_begin_with_variance_2_over_fan_out_and_norms_do_nothing():
    torch.manual_seed(0)
    for module in WideResNet(3, 10, 10, 4).modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 10_000:
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


@pytest.mark.parametrize("name", SMALL)
def test_the_memory_format_changes_no_answer(name):
    torch.manual_seed(0)
    model = build(name, (3, 16, 16), 5).eval()
    inputs = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        plain = model(inputs)
        other = model.to(memory_format=torch.channels_last)(
            inputs.contiguous(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(other, plain, rtol=1e-4, atol=1e-5)


def test_a_wide_residual_block_starts_its_shortcut_from_the_activated_input():
    block = WideResNet(3, 10, 10, 2).blocks[0].eval()
    x = torch.randn(2, 16, 5, 5)
    activated = block.norm1(x).relu()
    hidden = block.norm2(block.conv1(activated)).relu()
    torch.testing.assert_close(block(x), block.shortcut(activated) + block.conv2(hidden))
    assert WideResNet(3, 10, 16, 1).blocks[0].shortcut is None


@pytest.mark.parametrize(
    "name, side", [("wide_resnet-10-1", 8), ("densenet-10-4", 8), ("resnet18", 4), ("resnet50", 4)]
)
def test_convolutions_end_at_the_usual_size(name, side):
    model = build(name, (3, 32, 32), 2)
    with torch.no_grad():
        assert model.blocks(model.first(torch.randn(2, 3, 32, 32))).shape[2:] == (side, side)


def test_a_transition_halves_the_size_by_averaging():
    transition = Transition(6, 3).eval()
    x = torch.randn(2, 6, 8, 8)
    mixed = transition.conv(transition.norm(x).relu())
    torch.testing.assert_close(
        transition(x), mixed.unflatten(3, (4, 2)).unflatten(2, (4, 2)).mean((3, 5))
    )


@pytest.mark.parametrize(
    "name, shape, options",
    [
        ("timm:resnet18", (1, 32, 32), {}),
        ("timm:vit_tiny_patch16_224", (3, 32, 32), {}),
        ("timm:vit_tiny_patch16_224", (3, 32, 32), {"patch_size": 8, "depth": 2}),
        ("timm:efficientnet_b0", (3, 32, 32), {"bn_eps": 0.001, "drop_rate": 0.1}),
        ("timm:resnet18", (3, 32, 32), {"act_layer": "gelu", "stem_width": 16}),
        ("torchvision:resnet18", (3, 33, 33), {}),
        ("torchvision:resnet18", (3, 33, 33), {"zero_init_residual": True}),
        ("torchvision:shufflenet_v2_x0_5", (3, 32, 32), {}),
    ],
)
def test_names_of_timm_and_torchvision_build(name, shape, options):
    model = build(name, shape, 6, options)
    assert model(torch.randn(2, *shape)).shape == (2, 6)


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(OWN)
    (tmp_path / "broken_networks.py").write_text("def net(:\n")
    (tmp_path / "raising_networks.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize("shape", [(1, 4, 4), (6,)])
def test_a_callable_of_the_users_own_builds(own, shape):
    model = build("my_networks:Net", shape, 3, {"hidden": 9})
    assert model.layers[1].out_features == 9
    assert model(torch.randn(2, *shape)).shape == (2, 3)


def test_a_module_of_the_current_folder_is_found_and_hides_no_library(tmp_path, monkeypatch):
    (tmp_path / "nets_of_this_folder.py").write_text(
        "import torch\n"
        "def net(input_shape, classes):\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))\n"
    )
    # A file beside it that is called like a part of Python, or like what is not imported yet.
    for name in ("json", "colorsys"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hidden')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in ("", ".")])
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert build("nets_of_this_folder:net", (1, 8, 8), 3)(torch.zeros(2, 1, 8, 8)).shape == (2, 3)
    assert sys.path[-1] == str(tmp_path)
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    sys.modules.pop("nets_of_this_folder")


@pytest.mark.parametrize(
    "name, options, words",
    [
        (
            "my_networks:one_logit_more",
            {},
            r"must return logits of shape \(2, 3\) .* gave shape \(2, 4\)",
        ),
        ("my_networks:no_tensor", {}, "gave list"),
        ("my_networks:no_module", {}, "gave a str, not a torch.nn.Module"),
        ("my_networks:raises", {}, r"cannot be built \(RuntimeError: two lines\)"),
        ("my_networks:raises_forward", {}, r"fails on inputs 3x8x8 \(ValueError: two lines\)"),
        ("my_networks:Net", {"nonsense": 1}, "nonsense"),
        ("my_networks:Nett", {}, "no callable 'Nett' .*did you mean 'Net'"),
        ("my_networks:number", {}, "no callable 'number'"),
        ("no_such_networks:Net", {}, "module 'no_such_networks' cannot be imported .* PYTHONPATH"),
        ("broken_networks:net", {}, "module 'broken_networks' cannot be imported .*SyntaxError"),
        ("raising_networks:net", {}, "module 'raising_networks' cannot be imported .*two lines"),
        (":Net", {}, "cannot be imported"),
        (".relative:Net", {}, "cannot be imported"),
    ],
)
def test_a_callable_that_does_not_fit_is_refused_in_one_line(own, name, options, words):
    with pytest.raises(AnewError, match=words) as refusal:
        build(name, (3, 8, 8), 3, options)
    assert "\n" not in str(refusal.value)
    assert name in str(refusal.value)


@pytest.mark.parametrize(
    "name, shape, options, words",
    [
        ("wide_resent-28-10", (3, 32, 32), {}, "did you mean 'wide_resnet-28-10'.*`anew models`"),
        ("resnet19", (3, 32, 32), {}, "did you mean 'resnet1"),
        ("resnet18-3", (3, 32, 32), {}, "did you mean 'resnet18'"),
        ("", (3, 32, 32), {}, "is not known"),
        (
            "wide_resnet",
            (3, 32, 32),
            {},
            "must have the form wide_resnet-DEPTH-WIDTH; write for example wide_resnet-10-1",
        ),
        ("wide_resnet-28", (3, 32, 32), {}, "must have the form wide_resnet-DEPTH-WIDTH"),
        ("wide_resnet-28-1-1", (3, 32, 32), {}, "must have the form"),
        ("wide_resnet-28-x", (3, 32, 32), {}, "must have the form"),
        ("wide_resnet-28--1", (3, 32, 32), {}, "must have the form"),
        (
            "wide_resnet-29-1",
            (3, 32, 32),
            {},
            "6 n . 4, got 29; the nearest are wide_resnet-28-1 and wide_resnet-34-1",
        ),
        (
            "wide_resnet-4-1",
            (3, 32, 32),
            {},
            "depth must be a whole number >= 10 and <= 2,000, got 4",
        ),
        ("wide_resnet-28-0", (3, 32, 32), {}, "width must be a whole number >= 1 and <= 64, got 0"),
        (
            "wide_resnet-28-65",
            (3, 32, 32),
            {},
            "width must be a whole number >= 1 and <= 64, got 65",
        ),
        (
            "densenet-41-12",
            (3, 32, 32),
            {},
            "densenet-40-12 and densenet-46-12, or set the option layers",
        ),
        (
            "wide_resnet-10-1",
            (3, 32, 32),
            {"dropuot": 0.1},
            "no option 'dropuot' .*did you mean 'dropout'.*it takes: dro",
        ),
        ("resnet18", (3, 32, 32), {"width": 3}, "no option 'width'; it takes: none"),
        (
            "wide_resnet-10-1",
            (3, 32, 32),
            {"dropout": -0.1},
            "option dropout must be a number >= 0 and < 1, got -0.1",
        ),
        ("wide_resnet-10-1", (3, 32, 32), {"dropout": 1}, "got 1; set --model.options dropout="),
        ("wide_resnet-10-1", (3, 32, 32), {"dropout": math.nan}, "got nan"),
        ("wide_resnet-10-1", (3, 32, 32), {"dropout": "much"}, "got 'much'"),
        ("wide_resnet-10-1", (3, 32, 32), {"dropout": True}, "got True"),
        (
            "small_cnn",
            (3, 32, 32),
            {"width": 10**9},
            "whole number >= 1 and <= 10,000, got 1000000000",
        ),
        ("small_cnn", (3, 32, 32), {"width": 1.5}, "got 1.5"),
        ("small_cnn", (3, 32, 32), {"width": -3}, "got -3"),
        ("mlp", (9,), {"layers": -1}, "got -1"),
        (
            "densenet-40-12",
            (3, 32, 32),
            {"compression": 0},
            "compression must be a number >= 0.01 and < 10, got 0",
        ),
        (
            "wide_resnet-10-1",
            (3, 3, 8),
            {},
            "takes pictures of 4x4 and more, but the inputs are 3x3x8; choose another",
        ),
        ("lenet", (1, 11, 28), {}, "takes pictures of 12x12 and more"),
        (
            "wide_resnet-10-1",
            (30,),
            {},
            "takes pictures .* but the inputs are vectors of 30; choose another --model",
        ),
        (
            "small_cnn",
            (30,),
            {},
            "takes pictures of 4x4 and more, but the inputs are vectors of 30",
        ),
        (
            "timm:resnet18",
            (30,),
            {},
            "takes pictures, but the inputs are vectors of 30; choose --model mlp",
        ),
        ("timm:resnet19", (3, 32, 32), {}, "timm has no model 'resnet19' .*did you mean"),
        ("timm:resnet18", (3, 32, 32), {"nonsense": 1}, "nonsense"),
        ("timm:vit_tiny_patch16_224", (3, 32, 32), {"nonsense": 1}, "nonsense"),
        ("timm:vit_tiny_patch16_224", (3, 32, 32), {"num_heads": 5}, "cannot be built"),
        (
            "torchvision:resnet19",
            (3, 32, 32),
            {},
            "torchvision has no classifier 'resnet19' .*did you mean",
        ),
        ("torchvision:fcn_resnet50", (3, 32, 32), {}, "no classifier"),
        ("torchvision:resnet18", (1, 32, 32), {}, "take 3 channels, the pictures have 1; choose"),
        ("torchvision:resnet18", (30,), {}, "takes pictures"),
        ("torchvision:resnet18", (3, 32, 32), {"nonsense": 1}, "nonsense"),
        ("timm:resnet18", (3, 32, 32), {"checkpoint_path": "x.pth"}, "would load weights"),
        ("timm:resnet18", (3, 32, 32), {"pretrained": True}, "would load weights"),
        ("timm:resnet18", (3, 32, 32), {"pretrained_cfg": "x"}, "would load weights"),
        ("timm:vit_tiny_patch16_224", (3, 32, 32), {"cache_dir": "/x"}, "no option 'cache_dir'"),
        ("timm:efficientnet_b0", (3, 32, 32), {"pruned": True}, "no option 'pruned'"),
        ("timm:hf-hub:some/thing", (3, 32, 32), {}, "timm has no model"),
        ("torchvision:resnet18", (3, 32, 32), {"weights": "DEFAULT"}, "would load weights"),
        ("torchvision:resnet18", (3, 32, 32), {"weights_backbone": "x"}, "would load weights"),
        ("torchvision:alexnet", (3, 32, 32), {}, "fails on inputs 3x32x32"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, shape, options, words):
    with pytest.raises(AnewError, match=words) as refusal:
        build(name, shape, 10, options)
    assert "\n" not in str(refusal.value)
    assert f"'{name}'" in str(refusal.value)


def test_an_outline_has_the_names_and_shapes_and_draws_nothing():
    real = build("resnet18", (3, 32, 32), 10).state_dict()
    with outlined():
        network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Embedding(5, 4))
        before = torch.empty(2)
        assert torch.nn.init.kaiming_normal_(tensor=network[0].weight) is network[0].weight
        assert before.normal_() is before
    assert all(parameter.is_meta for parameter in network.parameters())
    shapes = {
        name: tensor.shape
        for name, tensor in outline("resnet18", (3, 32, 32), 10).state_dict().items()
    }
    assert shapes == {name: tensor.shape for name, tensor in real.items()}


def test_listing_models_loads_no_compiler():
    code = "import sys; from anew.models import catalogue, language_models; catalogue(); "
    code += "language_models(); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
