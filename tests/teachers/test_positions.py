"""Teachers of examples with an answer at each position: encoding, live and stored answers."""

from contextlib import closing

import pytest
import torch

import language
from anew import AnewError
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.data import Batches
from anew.data.split import prepare
from anew.models.network import Network
from anew.teachers import Encoding, Store, teacher_parts
from anew.teachers import store as store_module

CPU = torch.device("cpu")
BATCH = 16


@pytest.mark.parametrize("top_k", [None, 1, 3])
@pytest.mark.parametrize("classes", [7, 70_000])
def test_answers_at_positions_are_encoded_as_those_of_as_many_examples(classes, top_k):
    logits = torch.randn(2, 3, classes, generator=torch.Generator().manual_seed(0))
    encoding = Encoding(classes, top_k)
    words = encoding.encode(logits)
    assert words.shape == (2, 3, encoding.width)
    assert torch.equal(words.flatten(0, 1), encoding.encode(logits.flatten(0, 1)))
    decoded = encoding.decode(words)
    assert decoded.shape == logits.shape
    assert torch.equal(decoded.flatten(0, 1), encoding.decode(words.flatten(0, 1)))
    if top_k is not None:
        probabilities = decoded.softmax(-1)
        kept = logits.topk(top_k, dim=-1).indices
        expected = logits.softmax(-1).gather(-1, kept)
        torch.testing.assert_close(probabilities.gather(-1, kept), expected, atol=1e-3, rtol=1e-3)


@pytest.fixture(params=[None, 2], ids=["whole", "top k"])
def parts(request):
    """The parts of a language model's teacher, and the batches that it is asked about."""
    data = prepare(language.source(), DataSpec(source="language"))
    model = ModelSpec("language")
    training = TrainingSpec(epochs=2, batch_size=BATCH)
    teacher = Spec(model, data.spec, training, ObjectiveSpec("label"), seed=0)
    objective = ObjectiveSpec("ban", top_k=request.param)
    student = Spec(model, data.spec, training, objective, seed=0, teachers=(teacher,))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        built = language.Model((language.LENGTH,), len(language.WORDS))
    batches = Batches(data, BATCH, CPU)
    return teacher_parts([Network(built, model, data.signature)], student, batches), batches


def test_a_rows_words_are_the_positions_answers_behind_one_another(parts, tmp_path):
    taught, batches = parts
    assert taught.key.words == taught.encoding.width * language.LENGTH
    live = list(taught.teacher().teach(batches.epoch(0)))
    with closing(Store.open(tmp_path, taught.key)) as store:
        teacher = taught.teacher(store)
        filled = list(teacher.teach(batches.epoch(0)))
        asked = teacher.asked
        read = list(teacher.teach(batches.epoch(0)))
        teacher.flush()
        teacher.verify(batches, "float32")
        assert teacher.asked - asked == 3 * BATCH, "only the sample was asked about again"
        batch, logits = live[0][0], live[0][1].logits
        rows = store.read(batch.indices.numpy(), batch.views.numpy())

    for answers in (filled, read):
        for (_, expected), (_, given) in zip(live, answers, strict=True):
            assert torch.equal(expected.logits, given.logits)
    assert logits.shape == (BATCH, language.LENGTH, len(language.WORDS))
    for position in range(language.LENGTH):
        width = taught.encoding.width
        words = torch.from_numpy(rows[:, position * width : (position + 1) * width].view("int16"))
        assert torch.equal(taught.encoding.decode(words), logits[:, position])
    assert store_module.verify(taught.key.folder(tmp_path)) == []


def test_examples_with_several_answers_are_not_shuffled(parts):
    taught, batches = parts
    with pytest.raises(AnewError, match=r"have \(6,\) labels each; drop --objective.shuffled"):
        taught.teacher().shuffle(batches)
