"""The family folder: whole files, hashes, locks with takeover, formats, and what disks and people
do to them.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from filelock import FileLock

from anew import AnewError
from anew.core import files
from anew.core.interruption import StopRequest
from anew.core.spec import DataSpec, ModelSpec, ObjectiveSpec, Spec, TrainingSpec
from anew.family import FORMAT, Family, NetworkFolder
from anew.family import lock as lock_module
from anew.family.folder import write_spec
from anew.family.lock import DEAD_AFTER_SECONDS, OUTLIVES_DEATH, NetworkLock
from forks import fork_code

SPEC = Spec(
    ModelSpec("mlp"),
    DataSpec(fingerprint="f"),
    TrainingSpec(),
    ObjectiveSpec.of("label", smoothing=0.0),
)


@pytest.fixture
def family(tmp_path):
    return Family.create(tmp_path / "family")


def finished(family, spec):
    folder = family.begin(spec)
    files.write_tensors(folder.weights, {"w": torch.arange(6.0)}, {"id": spec.id})
    folder.finish({"id": spec.id, "test": {"error": 10.0}})
    return folder


def test_equal_tensors_give_equal_bytes(tmp_path):
    tensors = {"b": torch.randn(3, 4).t(), "a": torch.arange(5)}
    for name in ("one", "two"):
        files.write_tensors(tmp_path / name, tensors, {"z": 1, "a": [1, 2]})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    back, header = files.read_tensors(tmp_path / "one")
    assert torch.equal(back["b"], tensors["b"]) and torch.equal(back["a"], tensors["a"])
    assert header == {"z": 1, "a": [1, 2]}


def test_tensors_that_share_memory_are_saved(tmp_path):
    tied = torch.randn(3)
    files.write_tensors(tmp_path / "x", {"a": tied, "b": tied, "c": tied[:2]}, {})
    back, header = files.read_tensors(tmp_path / "x")
    assert (
        torch.equal(back["a"], tied)
        and torch.equal(back["b"], tied)
        and torch.equal(back["c"], tied[:2])
    )
    assert header == {}


def test_tied_tensors_are_written_once(tmp_path):
    tied, alike = torch.randn(30, 20), torch.randn(3)
    tensors = {"a": tied, "b": tied, "c": tied.t(), "d": alike, "e": alike.clone()}
    path = tmp_path / "x"
    files.write_tensors(path, tensors, {"model": "m"})
    assert set(safetensors.torch.load_file(path)) == {"a", "c", "d", "e"}
    assert path.stat().st_size == files.bytes_on_disk(tensors, {"model": "m"})
    back, header = files.read_tensors(path)
    assert header == {"model": "m"} and back.keys() == tensors.keys()
    assert all(torch.equal(back[name], one) for name, one in tensors.items())
    on_meta = {name: one.to("meta") for name, one in tensors.items()}
    assert files.tied_names({**on_meta, "b": on_meta["a"]}) == {"b": "a"}
    # For other readers each name has its own.
    whole = files.tensor_bytes(tensors, {"model": "m"}, whole=True)
    assert safetensors.torch.load(whole).keys() == tensors.keys()


@pytest.mark.parametrize("tied", [[], 3, {"d": "none"}, {"a": "c"}, {"d": 1}, {"d": None}])
def test_forged_ties_are_refused(tmp_path, tied):
    tensors = {"a": torch.zeros(2), "c": torch.zeros(3)}
    files.write_tensors(tmp_path / "x", tensors, {"tied": tied})
    with pytest.raises(AnewError, match=r"its header (names no tied|ties '.' to what)"):
        files.read_tensors(tmp_path / "x")


@pytest.mark.parametrize("what", ["pickle", "truncated", "text", "missing", "empty"])
def test_what_is_no_safetensors_file_is_refused(tmp_path, what):
    path = tmp_path / "weights.safetensors"
    if what == "pickle":
        torch.save({"w": torch.zeros(3)}, path)
    elif what == "truncated":
        files.write_tensors(path, {"w": torch.zeros(100)}, {})
        path.write_bytes(path.read_bytes()[:-50])
    elif what != "missing":
        path.write_bytes(b"hello, this is no network" if what == "text" else b"")
    says = {"pickle": "is a file of torch.save", "missing": "cannot be read"}.get(
        what, "is truncated or no safetensors file"
    )
    with pytest.raises(AnewError, match=says) as caught:
        files.read_tensors(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


FULL_DISK = """
import resource, signal, sys, pathlib
from anew import AnewError
from anew.core import files as storage
path = pathlib.Path(sys.argv[1])
storage.write_bytes(path, b"good")
# No file may grow beyond this: what a write sees on a full disk, but with "File too large".
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    storage.write_bytes(path, b"x" * 5000)
except AnewError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file_whole(tmp_path):
    path = tmp_path / "state"
    process = fork_code(FULL_DISK, path)
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    assert "cannot be written" in said and str(path) in said
    assert path.read_bytes() == b"good"
    assert [one.name for one in tmp_path.iterdir()] == ["state"]


def test_a_line_replaces_what_lies_beyond_its_place(tmp_path):
    path = tmp_path / "metrics.jsonl"
    end = len(files.write_line(path, 0, {"epoch": 1}))
    files.write_line(path, end, {"epoch": 2, "written": "before a kill"})
    files.write_line(path, end, {"epoch": 2})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"epoch": 1},
        {"epoch": 2},
    ]


def test_a_line_never_lengthens_a_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    files.write_line(path, 0, {"epoch": 1})
    before = path.read_bytes()
    with pytest.raises(AnewError, match="another program changed it; run the same command again"):
        files.write_line(path, len(before) + 1, {"epoch": 2})
    assert path.read_bytes() == before


def test_a_line_goes_into_no_link_and_no_pipe(tmp_path):
    other, link, pipe = (tmp_path / name for name in ("other", "link", "pipe"))
    other.write_text("somebody's")
    link.symlink_to(other)
    os.mkfifo(pipe)
    for path in (link, pipe):
        with pytest.raises(AnewError, match=path.name):
            files.write_line(path, 0, {"epoch": 1})
    assert other.read_text() == "somebody's"


def test_a_file_is_not_written_through_a_planted_link(tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.write_text("somebody's")
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0" * 2 * size)
    (tmp_path / f".x.{os.getpid()}-00000000.tmp").symlink_to(other)
    with pytest.raises(AnewError, match="File exists"):
        files.write_bytes(tmp_path / "x", b"content")
    assert other.read_text() == "somebody's" and not (tmp_path / "x").exists()
    monkeypatch.undo()
    files.write_bytes(tmp_path / "x", b"content")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other", "x"]


def test_who_opened_the_file_before_another_took_over_writes_nowhere(tmp_path):
    path = tmp_path / "metrics.jsonl"
    files.write_line(path, 0, {"epoch": 1})

    def taken_over():
        files.write_bytes(path, b"another's")

    files.write_line(path, 0, {"epoch": 1, "by": "the sleeper"}, taken_over)
    assert path.read_bytes() == b"another's"


def test_a_family_is_made_and_opened_again(family):
    assert Family.open(family.path).path == family.path
    assert Family.create(family.path).path == family.path


def test_a_spec_and_its_teachers_are_found_again(family):
    student = Spec(SPEC.model, SPEC.data, SPEC.training, ObjectiveSpec("ban"), teachers=(SPEC,))
    for spec in (SPEC, student):
        finished(family, spec)
    assert family.spec(student.id) == student
    assert family.lineages() == [(SPEC, student)]


def test_ids_are_found_by_their_start(family):
    finished(family, SPEC)
    assert family.find(SPEC.id[:5]).id == SPEC.id
    with pytest.raises(AnewError, match="no network with an id that starts with 'zzz'"):
        family.find("zzz")


def test_other_folders_are_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    with pytest.raises(AnewError, match="is a file"):
        Family.create(tmp_path / "file")
    with pytest.raises(AnewError, match="other files"):
        Family.create(tmp_path / "full")
    with pytest.raises(AnewError, match="is no family"):
        Family.open(tmp_path / "full")
    assert [one.name for one in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_a_newer_format_is_refused(family):
    files.write_json(family.path / "family.json", {"format": FORMAT + 1})
    with pytest.raises(AnewError, match=r"newer anew .format 2.*upgrade"):
        Family.open(family.path)


def test_a_folder_that_cannot_be_written(tmp_path):
    # Root may write anywhere, but not here.
    place = "/proc/family" if os.geteuid() == 0 else tmp_path / "closed" / "family"
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(AnewError, match="cannot be made"):
        Family.create(Path(place))


@pytest.mark.parametrize("target", ["done.json", "nothing"])
def test_a_record_that_is_a_broken_link_is_damage(family, target):
    folder = finished(family, SPEC)
    folder.done_file.unlink()
    folder.done_file.symlink_to(target)
    checked, wrong = family.verify()
    assert checked == 1 and f"{folder.done_file}: cannot be read" in wrong[0]


@pytest.mark.parametrize("harm", ["changed", "shorter", "missing", "spec"])
def test_verify_finds_harm(family, harm):
    folder = finished(family, SPEC)
    assert family.verify() == (1, [])
    content = folder.weights.read_bytes()
    if harm == "changed":
        folder.weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif harm == "shorter":
        folder.weights.write_bytes(content[:-1])
    elif harm == "missing":
        folder.weights.unlink()
    else:
        folder.spec_file.write_text(folder.spec_file.read_text().replace('"seed": 0', '"seed": 1'))
    _, wrong = family.verify()
    assert wrong
    says = {
        "changed": "has changed",
        "shorter": "bytes",
        "missing": "is missing",
        "spec": "describes network",
    }[harm]
    assert says in wrong[0]


def test_a_damaged_file_is_refused_when_it_is_used(family):
    folder = finished(family, SPEC)
    assert folder.sound_weights == folder.weights
    content = folder.weights.read_bytes()
    # As long as before, and as old: only its content tells.
    status = folder.weights.stat()
    folder.weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(AnewError, match=r"weights.safetensors: has changed .*--set-aside"):
        _ = folder.sound_weights
    folder.weights.write_bytes(content)
    os.utime(folder.weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert folder.sound_weights == folder.weights


def test_a_file_is_hashed_once_in_a_process(family, monkeypatch):
    folder = finished(family, SPEC)
    hashed = []
    monkeypatch.setattr(files, "sha256", lambda path: hashed.append(path) or "x")
    for _ in range(3):
        with pytest.raises(AnewError, match="has changed"):
            _ = folder.sound_weights
    assert hashed == [folder.weights]


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_a_named_pipe_is_never_waited_for(family):
    folder = family.begin(SPEC)
    os.mkfifo(folder.metrics)
    with pytest.raises(AnewError, match=r"metrics.jsonl: is no file \(a pipe"):
        folder.read_metrics()
    with pytest.raises(AnewError, match=r"metrics.jsonl: is no file \(a pipe"):
        folder.finish({"id": SPEC.id, "test": {"error": 10.0}})
    folder.metrics.unlink()
    folder.metrics.touch()
    folder.finish({"id": SPEC.id, "test": {"error": 10.0}})
    folder.metrics.unlink()
    # As long as what was recorded: nothing.
    os.mkfifo(folder.metrics)
    (wrong,) = NetworkFolder(folder.path).verify()
    assert wrong.endswith("metrics.jsonl: is no file")


def test_a_record_of_numbers_that_are_not_finite_is_json_with_its_hash(family):
    folder = family.begin(SPEC)
    at = len(folder.write_metrics(0, {"epoch": 1, "validation_nll": 0.25}))
    folder.write_metrics(at, {"epoch": 2, "validation_nll": float("inf")})
    folder.finish({"id": SPEC.id, "test": {"nll": float("nan"), "error": 12.5}})
    for line in (folder.done_file.read_text(), *folder.metrics.read_text().splitlines()):
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    found = NetworkFolder(folder.path)
    assert found.done["test"] == {"nll": None, "error": 12.5}
    assert [row["validation_nll"] for row in found.read_metrics()] == [0.25, None]


def test_a_damaged_network_is_set_aside_and_nothing_is_removed(family):
    folder = finished(family, SPEC)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    assert family.set_aside_damaged() == []
    folder.weights.write_bytes(b"damaged")
    (place,) = family.set_aside_damaged()
    assert not folder.is_done and family.verify() == (0, [])
    kept = {path.name: path.read_bytes() for path in place.iterdir()}
    spec = before.pop("spec.json")
    assert kept == {**before, "weights.safetensors": b"damaged"}
    assert folder.spec_file.read_bytes() == spec
    assert family.begin(SPEC) == folder and folder.spec_file.exists()


@pytest.mark.parametrize("name", ["../../../planted.py", "/etc/passwd", "state", "x.safetensors"])
def test_a_record_names_only_a_networks_own_files(family, name):
    folder = finished(family, SPEC)
    record = json.loads(folder.done_file.read_text())
    record["files"][name] = {"sha256": "0" * 64, "bytes": 0}
    folder.done_file.write_text(json.dumps(record))
    with pytest.raises(AnewError, match="which is no file of a network"):
        _ = NetworkFolder(folder.path).done


@pytest.mark.parametrize("whose", ["its own", "another's", "no state"])
def test_a_linked_state_loses_its_link_and_nothing_of_anothers(family, tmp_path, whose):
    folder = family.begin(SPEC)
    elsewhere = tmp_path / "fast disk"
    elsewhere.mkdir()
    (elsewhere / ".state.safetensors.9.tmp").write_text("x")
    state = elsewhere / "state.safetensors"
    if whose == "no state":
        state.write_text("a file of another program")
    else:
        files.write_tensors(state, {}, {"id": SPEC.id if whose == "its own" else "another"})
    folder.state.parent.symlink_to(elsewhere)
    folder.sweep()
    folder.clear_state()
    assert state.exists() == (whose != "its own")
    assert (elsewhere / ".state.safetensors.9.tmp").exists()
    assert not folder.state.parent.is_symlink()


@pytest.mark.parametrize("place", ["networks", "networks/ID", "teachers", "teachers/one"])
def test_nothing_is_written_through_a_linked_folder(family, tmp_path, place):
    elsewhere = tmp_path / "somebody's"
    elsewhere.mkdir()
    link = family.path / place.replace("ID", SPEC.id)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    with pytest.raises(AnewError, match="is a link; anew does not write through"):
        family.begin(SPEC)
    assert not list(elsewhere.iterdir())


def test_a_family_that_a_killed_process_began_is_made(tmp_path):
    (tmp_path / ".family.json.1.tmp").write_text("{")
    assert Family.open(Family.create(tmp_path).path).path == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["family.json"]


def test_a_damaged_spec_of_a_network_that_is_not_finished_is_written_again(family):
    folder = family.begin(SPEC)
    for content in ("", "{}", folder.spec_file.read_text().replace('"seed": 0', '"seed": 1')):
        folder.spec_file.write_text(content)
        family.begin(SPEC)
        assert family.spec(SPEC.id) == SPEC


def test_beginning_again_with_data_that_moved_leaves_the_spec_and_reads_no_teacher(family):
    student = Spec(SPEC.model, SPEC.data, SPEC.training, ObjectiveSpec("ban"), teachers=(SPEC,))
    before = family.begin(student).spec_file.read_bytes()
    moved = replace(student, data=replace(student.data, source="elsewhere"))
    # No teacher's folder is there to be read.
    assert moved.id == student.id and not family.folder(SPEC.id).path.exists()
    assert family.begin(moved).spec_file.read_bytes() == before


@pytest.mark.parametrize("through", [0, 1])
def test_a_circle_of_teachers_is_refused_in_one_line(family, through):
    ids = ["1" * 16, "2" * 16][: through + 1]
    for number, one in enumerate(ids):
        record = {"id": one, **SPEC.to_json(), "teachers": [ids[(number + 1) % len(ids)]]}
        files.write_json(family.folder(one).spec_file, record)
    with pytest.raises(AnewError, match="names a teacher that descends from it"):
        family.spec(ids[0])


def test_a_chain_of_any_length_is_read(family):
    newest = SPEC
    for _ in range(60):
        # A chain of specs that were only begun: reading it needs no weights.
        write_spec(family.folder(newest.id), newest)
        newest = replace(SPEC, objective=ObjectiveSpec("ban"), teachers=(newest,))
    write_spec(family.folder(newest.id), newest)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(sum(1 for _ in traceback.walk_stack(None)) + 100)
    try:
        read = Family.open(family.path).spec(newest.id)
    finally:
        sys.setrecursionlimit(limit)
    assert read.generation == 60 and [one.generation for one in read.lineage] == list(range(61))


HOLDER = """
import pathlib, sys, time
from anew.family.lock import NetworkLock
with NetworkLock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def short_watch(monkeypatch):
    """What must be watched before it is taken for dead is watched for a moment only."""
    monkeypatch.setattr(lock_module, "WATCH_SECONDS", 0.1)


@pytest.fixture
def holder(tmp_path):
    process = fork_code(HOLDER, tmp_path)
    while "held" not in process.out:
        assert process.poll() is None, process.errors
    yield process
    process.kill()
    process.communicate()


def test_a_live_process_keeps_its_lock(tmp_path, holder):
    with (
        pytest.raises(AnewError, match=f"process {holder.pid} .* is training this network now"),
        NetworkLock(tmp_path),
    ):
        pass


def test_a_dead_process_loses_its_lock(tmp_path, holder):
    holder.kill()
    holder.communicate()
    assert (tmp_path / "lock").exists()
    with NetworkLock(tmp_path) as lock:
        lock.check()
    assert not (tmp_path / "lock").exists()


def test_another_hosts_lock_is_dead_when_its_heartbeat_is(tmp_path):
    path = tmp_path / "lock"
    path.write_text(json.dumps({"host": "elsewhere", "process": 1, "started": "0", "token": "t"}))
    with pytest.raises(AnewError, match="on elsewhere is training"), NetworkLock(tmp_path):
        pass
    old = time.time() - 120
    os.utime(path, (old, old))
    with NetworkLock(tmp_path):
        pass


@pytest.mark.parametrize("offset", [-120, 3600], ids=["by the clock", "in the future"])
def test_a_heartbeat_that_stands_still_must_do_so_before_our_eyes(tmp_path, monkeypatch, offset):
    """Two machines' clocks may differ by hours: only a beat that is seen shows that one lives."""
    monkeypatch.setattr(lock_module, "WATCH_SECONDS", 1.5)
    path = tmp_path / "lock"
    path.write_text(json.dumps({"host": "elsewhere", "process": 1, "started": "0", "token": "t"}))

    def beat(times):
        for number in range(times):
            moment = time.time() + offset + number
            os.utime(path, (moment, moment))
            time.sleep(0.5)

    beat(1)
    owner = threading.Thread(target=beat, args=(8,))
    started = time.monotonic()
    owner.start()
    with NetworkLock(tmp_path) as lock:
        # Not while it beat, and not before it had stood still for long enough.
        assert time.monotonic() - started >= 4 - 0.5 + 1.5 - 0.1
        lock.check()
    owner.join()


@pytest.mark.parametrize(
    "other",
    [{"namespace": 1}, {"boot": "another"}, {"process": 0}, {"process": -1}, {"process": 10**30}],
    ids=str,
)
def test_a_process_of_another_container_is_not_asked_for_here(tmp_path, other):
    """Its number means another process here, or none: its heartbeat alone says that it lives."""
    path = tmp_path / "lock"
    path.write_text(json.dumps({**NetworkLock(tmp_path).owner, "token": "t", **other}))
    with pytest.raises(AnewError, match="is training this network now"), NetworkLock(tmp_path):
        pass


def test_a_dead_owners_lock_of_version_0_1_is_taken_at_once(tmp_path):
    owner = {name: NetworkLock(tmp_path).owner[name] for name in ("host", "started", "token")}
    (tmp_path / "lock").write_text(json.dumps({**owner, "process": 2**22 + 1}))
    with NetworkLock(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, '{"process": "x"}', "null"])
def test_a_damaged_lock_is_said_to_be_one_and_dies_like_all(tmp_path, content):
    path = tmp_path / "lock"
    path.write_text(content)
    with pytest.raises(AnewError, match="damaged lock"), NetworkLock(tmp_path):
        pass
    old = time.time() - 120
    os.utime(path, (old, old))
    with NetworkLock(tmp_path):
        pass


def test_a_lock_that_is_a_pipe_or_a_link_is_no_owner_and_is_replaced(tmp_path):
    target = tmp_path / "thesis.tex"
    target.write_text("x")
    old = time.time() - 120
    os.utime(target, (old, old))
    for make in (lambda path: os.mkfifo(path), lambda path: path.symlink_to(target)):
        folder = tmp_path / "network"
        folder.mkdir(exist_ok=True)
        make(folder / "lock")
        os.utime(folder / "lock", (old, old), follow_symlinks=False)
        with NetworkLock(folder):
            pass
    assert target.read_text() == "x"


def test_patience_outlives_what_died_on_another_host_and_nothing_else(tmp_path, holder):
    with (
        pytest.raises(AnewError, match=f"process {holder.pid} .* is training this network now"),
        NetworkLock(tmp_path, patience=1.5),
    ):
        pass
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    (elsewhere / "lock").write_text(
        json.dumps({"host": "elsewhere", "process": 1, "started": "0", "token": "t"})
    )
    last_beat = time.time() - DEAD_AFTER_SECONDS + 1.5
    os.utime(elsewhere / "lock", (last_beat, last_beat))
    with NetworkLock(elsewhere, patience=OUTLIVES_DEATH) as lock:
        lock.check()
        assert time.time() - last_beat >= DEAD_AFTER_SECONDS
    # Who waits can be asked to stop, and then does not wait.
    (elsewhere / "lock").write_text(
        json.dumps({"host": "elsewhere", "process": 1, "started": "0", "token": "t"})
    )
    stop = StopRequest()
    stop.requested = True
    with (
        pytest.raises(AnewError, match="on elsewhere"),
        NetworkLock(elsewhere, OUTLIVES_DEATH, stop),
    ):
        pass


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_an_owner_that_has_ended_and_was_not_waited_for_is_dead(tmp_path, holder):
    """As in a container whose first process waits for nobody."""
    os.kill(holder.pid, signal.SIGKILL)
    while Path(f"/proc/{holder.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    with NetworkLock(tmp_path) as lock:
        lock.check()


def test_a_process_number_used_again_is_not_the_owner(tmp_path):
    path = tmp_path / "lock"
    path.write_text(
        json.dumps({**NetworkLock(tmp_path).owner, "started": "long ago", "token": "t"})
    )
    with NetworkLock(tmp_path):
        pass


def test_whoever_has_the_guard_keeps_all_others_out(tmp_path):
    folder = tmp_path / "networks" / "one"
    with NetworkLock(folder):
        (guard,) = folder.parent.glob(".*")
        held = FileLock(guard)
        held.acquire()
    # Were the guard gone with the lock, the next would make one of its own and not wait.
    with ThreadPoolExecutor() as pool:
        entered = pool.submit(lambda: NetworkLock(folder).__enter__())
        time.sleep(0.3)
        waited = not entered.done()
        held.release()
        entered.result(timeout=30).__exit__(None, None, None)
    assert waited


def test_a_guard_whose_holder_stands_still_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "GUARD_SECONDS", 0.3)
    monkeypatch.setattr(lock_module, "LOOK_SECONDS", 0.1)
    held = FileLock(tmp_path / ".lock-guard")
    with held, ThreadPoolExecutor() as pool:

        def enter():
            with NetworkLock(tmp_path / "one") as lock:
                lock.check()

        pool.submit(enter).result(timeout=10)
    assert not (tmp_path / "one" / "lock").exists()


def test_a_lock_taken_over_is_noticed(tmp_path):
    with NetworkLock(tmp_path) as lock:
        lock.check()
        (tmp_path / "lock").write_text(
            json.dumps({"host": "elsewhere", "process": 1, "token": "other"})
        )
        with pytest.raises(AnewError, match="another process took over this network"):
            lock.check()
    assert json.loads((tmp_path / "lock").read_text())["token"] == "other"


def test_what_a_killed_writer_left_is_swept(family):
    folder = family.begin(SPEC)
    files.ensure_folder(folder.state.parent)
    for path in (
        folder.path / ".weights.safetensors.99.tmp",
        folder.state.parent / ".state.safetensors.99.tmp",
    ):
        path.write_bytes(b"half")
    (folder.path / ".thesis.9.tmp").write_bytes(b"somebody's")
    folder.sweep()
    assert [path.name for path in folder.path.rglob("*.tmp")] == [".thesis.9.tmp"]
