"""PyTorch files that are damaged, or that lie; pickles are in test_hostile_pickles.py."""

import os
import zipfile

import numpy as np
import pytest

import converters
from converters import CheckpointError, formats
from tests.helpers.checkpoint_files import adam_state, alexnet, in_torch_names, refused, save_npz, save_zip

torch = pytest.importorskip("torch")


def tensors():
    return {name: torch.from_numpy(array.copy()) for name, array in in_torch_names(alexnet()).items()}


@pytest.fixture
def save(tmp_path):
    def write(payload, **options):
        torch.save(payload, tmp_path / "a.pt", **options)
        return tmp_path / "a.pt"

    return write


@pytest.fixture
def ours(tmp_path):
    """A file of our own with an optimizer and a trainer, as a payload to change."""
    arrays = {f"updater/model:main/{key}": array for key, array in alexnet().items()}
    arrays |= {f"updater/optimizer:main/{key}": array for key, array in adam_state(alexnet()).items()}
    converters.convert(save_npz(tmp_path / "a", {**arrays, "updater/iteration": np.array(3)}), tmp_path / "a.pt")
    return torch.load(tmp_path / "a.pt", weights_only=True)


def test_a_dictionary_in_itself(save):
    payload = {"epoch": 1}
    payload["model"] = payload
    refused(save(payload), r"it holds no state dict, only 'epoch', 'model' \(save")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.7, 0.99])
def test_a_file_that_was_cut_short(part, legacy, save):
    path = save(tensors(), _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    refused(path, r"cut short|the PyTorch file cannot be read: .*look for a whole copy\)|more than tensors")


@pytest.mark.parametrize(
    "content", [b"", b".", b"(", b"N.", b"\x80\x02}q\x00.", b"\x80\x02" + b"(" * 5000, b"\xff" * 50]
)
def test_a_zip_with_another_pickle(content, tmp_path):
    path = save_zip(tmp_path / "a.pt", [("a/data.pkl", content), ("a/version", b"3\n")], zipfile.ZIP_STORED)
    refused(path, r"the PyTorch file cannot be read|it holds")


def test_a_missing_storage(save, tmp_path):
    with zipfile.ZipFile(save(tensors())) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist() if not name.endswith("data/3")]
    refused(save_zip(tmp_path / "b.pt", members, zipfile.ZIP_STORED), "the PyTorch file cannot be read")


def test_a_tensor_larger_than_its_storage(save):
    state = tensors()
    state["fc8.bias"] = torch.ones(1).expand(1 << 20)
    refused(save(state), r"'fc8\.bias' of shape \(1048576,\) has only 4 bytes")


def test_many_tensors_that_repeat_one_number_are_refused(save):
    """Each alone could be a bias that nothing but the tensor's stride makes long."""
    state = {f"layer{i}.bias": torch.ones(1).expand(1 << 18) for i in range(100)}
    refused(save(state), "its tensors have 104,857,200 bytes that are the same numbers again")


@pytest.mark.parametrize(
    ("change", "phrase"),
    [
        ({"optimizer": {}}, "its optimizer or trainer cannot be read"),
        ({"optimizer": 5}, "its optimizer or trainer cannot be read"),
        ({"optimizer": {"algorithm": "adam", "step": 3, "slots": {"m": {}, "v": {}}}}, "the optimizer's 'm' lacks"),
        ({"optimizer": {"algorithm": "adam", "step": 3, "slots": {}}}, "no known optimizer has the state"),
        ({"optimizer": {"algorithm": "adam", "step": 3, "slots": {5: {}}}}, "no known optimizer has the state 5"),
        ({"optimizer": {"algorithm": "lion", "step": 3, "slots": {"v": {}}}}, "no known optimizer has the state v"),
        ({"optimizer": {"algorithm": "momentumsgd", "step": "3", "slots": {"v": {}}}}, "counters are '3' and 0"),
        ({"optimizer": {"algorithm": "momentumsgd", "step": 2**100, "slots": {"v": {}}}}, "and 0, which cannot be"),
        ({"optimizer": {"algorithm": "momentumsgd", "step": -1, "slots": {"v": {}}}}, "are -1 and 0, which cannot be"),
        (
            {"optimizer": {"algorithm": "adagrad", "step": 3, "epoch": 0.5, "slots": {"h": {}}}},
            "counters are 3 and 0.5",
        ),
        ({"optimizer": {"algorithm": "momentumsgd", "step": 3, "slots": {"v": {"x": 5}}}}, "cannot be read"),
        ({"optimizer": {"algorithm": "adam", "step": 3, "slots": [], "magic": 1}}, "cannot be read"),
        ({"trainer": [1]}, "its optimizer or trainer cannot be read"),
        ({"trainer": {"a": 5}}, "its optimizer or trainer cannot be read"),
        ({"trainer": {"a": torch.ones(1).expand(10**12)}}, r"cannot be read: of shape \(1000000000000,\) has only 4"),
        ({"trainer": {"a": torch.ones(3).to_sparse()}}, "cannot be read: is a sparse tensor"),
    ],
)
def test_a_training_of_ours_that_was_changed(change, phrase, ours, save):
    path = save({**ours, **change})
    with pytest.raises(CheckpointError, match=rf"a\.pt: .*{phrase}.*read the weights alone with --no-state"):
        converters.read(path)
    assert converters.read(path, state=False).joints == 7


def test_a_training_before_its_first_update(ours, save):
    assert converters.read(save({**ours, "optimizer": {**ours["optimizer"], "step": 0}})).optimizer.step == 0


def test_a_slot_of_another_shape(ours, save):
    ours["optimizer"]["slots"]["m"]["fc8.bias"] = torch.ones(13)
    refused(save(ours), r"the optimizer's 'm' of fc8\.bias is a float32 of shape \(13,\) instead of float32 \(14,\)")
    ours["optimizer"]["slots"]["m"]["fc8.bias"] = torch.ones(14)
    ours["optimizer"]["slots"]["m"]["fc9.bias"] = torch.ones(14)
    refused(save(ours), r"the optimizer's 'm' has a strange fc9\.bias")


class TestLies:
    """A pickle that says otherwise of its tensors than the file holds; made of a real one, text for text."""

    @pytest.fixture
    def changed(self, save, tmp_path):
        """Changes the members of a file that PyTorch wrote."""

        def change(pickled=lambda content: content, others=lambda members: members, compression=zipfile.ZIP_STORED):
            with zipfile.ZipFile(save(tensors())) as archive:
                content = {name: archive.read(name) for name in archive.namelist()}
            content["a/data.pkl"] = pickled(content["a/data.pkl"])
            return save_zip(tmp_path / "b.pt", others(list(content.items())), compression)

        return change

    def test_the_fixture_makes_a_good_file(self, changed):
        assert converters.read(changed()).joints == 7

    @pytest.mark.parametrize(
        ("old", "new", "phrase"),
        [
            # The storage of fc8.bias has 14 numbers, its tensor starts at 0 and has the shape (14,) and stride (1,).
            (b"K\x0etq", b"K\x0dtq", "it says that a storage has 13 numbers, but it has 56 bytes"),
            (b"K\x0etq", b"J\xff\xff\xff\x7ftq", "a storage has 2147483647 numbers, which are not there"),
            (b"QK\x00K\x0e\x85", b"QK\x01K\x0e\x85", r"'fc8\.bias' of shape \(14,\) ends after the 56 bytes"),
            (b"QK\x00K\x0e\x85", b"QJ\xff\xff\xff\xffK\x0e\x85", "it has a tensor that cannot be"),
            (
                b"QK\x00K\x0e\x85",
                b"QK\x00J\xff\xff\xff\x7f\x85",
                r"'fc8\.bias' of shape \(2147483647,\) has only 56 bytes",
            ),
            (b"QK\x00K\x0e\x85", b"QK\x00J\xff\xff\xff\xff\x85", "it has a tensor that cannot be"),
            (b"QK\x00K\x0e\x85", b"QK\x00X\x01\x00\x00\x00a\x85", "it has a tensor that cannot be"),
        ],
    )
    def test_sizes(self, old, new, phrase, changed):
        def change(content):
            at = content.rindex(old)
            return content[:at] + new + content[at + len(old) :]

        refused(changed(change), phrase)

    def test_a_tensor_whose_numbers_are_another_members(self, changed):
        """A storage's name is looked up among the zip's own members alone."""

        def change(content):
            return content.replace(b"X\x01\x00\x00\x000", b"X\x01\x00\x00\x00/", 1)

        refused(changed(change), "it lacks the numbers '/'")

    def test_a_storage_that_inflates_to_more_than_its_tensor(self, changed, read_within_limits):
        """Zeros, of which each of many tensors could be a part."""

        def inflated(members):
            return [(name, bytes(40 << 20) if name == "a/data/0" else content) for name, content in members]

        path = changed(others=inflated, compression=zipfile.ZIP_DEFLATED)
        assert path.stat().st_size < 1 << 18
        assert "a storage has 726 numbers, but it has 41943040 bytes" in read_within_limits(path)

    def test_a_storage_that_inflates_to_more_than_is_allowed(self, changed, read_within_limits):
        path = changed(compression=zipfile.ZIP_DEFLATED)
        assert "its arrays take" in read_within_limits(path, max_bytes=1000)

    def test_flipped_bits_are_found(self, save):
        """In what a tensor is a part of, too."""
        whole = torch.arange(40, dtype=torch.float32)
        path = save({**tensors(), "fc8.bias": whole[3:17]})
        assert converters.read(path).joints == 7
        content = path.read_bytes()
        place = content.index(whole.numpy().tobytes())
        for position in (place + 4 * 5, place + 4 * 30, content.index(b"fc8.bias")):
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            refused(path, "its CRC-32 checksum is wrong")

    def test_two_pickles(self, changed):
        path = changed(others=lambda members: [*members, ("b/data.pkl", members[0][1])])
        refused(path, "it has 2 pickles instead of one")

    def test_a_member_twice(self, changed):
        refused(changed(others=lambda members: [*members, members[0]]), "it has a member twice")

    def test_a_program(self, changed):
        path = changed(others=lambda members: [*members, ("a/constants.pkl", b"\x80\x02).")])
        refused(path, "it holds more than tensors and plain values: a TorchScript program")

    def test_a_thousand_tensors_that_are_one(self, save):
        """Each is as large as the file."""
        one = torch.ones(100_000)
        refused(save({f"w{i}": one[i:] for i in range(1000)}), r"its tensors have \d+ bytes, but are the same 400000")

    def test_three_tensors_that_are_one(self, save, tmp_path):
        """Two are as tied weights are."""
        one = torch.ones(100_000)
        refused(save({f"w{i}": one for i in range(3)}), "its tensors have 1200000 bytes, but are the same 400000")
        assert formats.opened(save({f"w{i}": one for i in range(2)})).headers.keys() == {"w0", "w1"}

    def test_a_thousand_arrays_of_a_trainer_that_are_one(self, ours, save):
        one = torch.ones(100_000)
        path = save({**ours, "trainer": {f"w{i}": one[i:] for i in range(1000)}})
        refused(path, "its optimizer or trainer cannot be read: have .* bytes, but are the same")
        assert converters.read(path, state=False).joints == 7

    def test_a_file_that_is_cut_while_it_is_read(self, save):
        """Memory that is mapped to a file would end the process here."""
        path = save(tensors())
        size = path.stat().st_size

        def cut(done, total):
            if path.stat().st_size == size:
                os.truncate(path, size // 2)

        with pytest.raises(CheckpointError, match=r"a\.pt: (it changed while it was read|.*the file ends in it)"):
            converters.read(path, progress=cut)
