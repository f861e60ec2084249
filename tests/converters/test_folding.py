import pytest

from converters import Architecture
from converters.folding import fold, fold_groups
from converters.keys import chainer_names


class TestFold:
    @pytest.mark.parametrize(
        ("keys", "folded"),
        [
            ([], ""),
            (["conv1/W"], "conv1/W"),
            (["fc6/W", "fc6/b", "fc7/W", "fc7/b"], "fc{6,7}/{W,b}"),
            (["fc6/W", "fc6/b", "fc7/W"], "fc6/{W,b}, fc7/W"),
            ([f"conv{i}/W" for i in (1, 2, 3)], "conv{1..3}/W"),
            ([f"conv{i}/W" for i in (1, 3, 5)], "conv{1,3,5}/W"),
            ([f"conv{i}/W" for i in (9, 10, 11)], "conv{9..11}/W"),
            ([f"conv{a}_{b}/W" for a in (1, 2) for b in (1, 2)], "conv{1,2}_{1,2}/W"),
            (["conv1_1/W", "conv1_2/W", "conv2_1/W"], "conv1_{1,2}/W, conv2_1/W"),
            (["conv1.weight", "conv1.bias"], "conv1.{bias,weight}"),
            (["a/W", "b/W"], "a/W, b/W"),
            (["t"], "t"),
            (["a01/W", "a1/W"], "a{01,1}/W"),
        ],
    )
    def test_patterns_stand_for_exactly_the_keys(self, keys, folded):
        assert fold(keys) == folded
        assert sorted(key for group in fold_groups(keys).values() for key in group) == sorted(keys)

    def test_many_patterns_are_counted(self):
        keys = [f"{letter}/W" for letter in "abcdefghij"]
        assert fold(keys) == "a/W, b/W, c/W, d/W, e/W, f/W and 4 more patterns"
        assert fold(keys, most=10).endswith("i/W, j/W")

    def test_a_whole_resnet_is_few_patterns(self):
        names = chainer_names(Architecture.full_size("resnet50", 7))
        assert len(fold_groups(names.values())) <= 20

    def test_numbers_without_end_do_not_take_memory_or_time(self):
        keys = [f"a{i}/W" for i in (0, 999_999_998, 999_999_999)] + ["b" + "9" * 6000 + "/W", "b" + "8" * 6000 + "/W"]
        assert "a{0,999999998,999999999}/W" in fold_groups(keys)
        each_its_own = ["/".join("1" if i == j else "0" for j in range(1200)) + "/W" for i in range(1200)]
        assert len(fold_groups(each_its_own)) == 1200
        deep = ["/".join(f"{j}" for j in range(i, i + 1500)) + "/W" for i in range(3)]
        assert len(fold_groups(deep)) == 3
