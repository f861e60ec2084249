import math
from pathlib import Path

import pytest

from deeppose_port.training.hyperparameters import HyperparameterOptions
from deeppose_port.training.options import TrainingOptions

OPTIMIZERS = ("Adam", "MomentumSGD", "AdaGrad", "RMSprop")

#: What the legacy program wrote into every log.txt, whatever it used.
LEGACY_LOG = {
    **{"adam_alpha": 0.002, "adam_beta1": 0.8, "adam_beta2": 0.99, "adam_eps": 1e-7},
    **{"lr": 0.03, "lr_decay_freq": 20, "lr_decay_ratio": 0.5, "weight_decay": 0.0007, "batchsize": 8},
}


def options(**given):
    return TrainingOptions(train_csv=Path("train.csv"), images=Path("images"), skeleton="flic", **given)


class TestDefaults:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    def test_they_are_the_legacy_programs_for_each_optimizer(self, name):
        hyper = HyperparameterOptions(opt=name).complete(name.lower())
        assert hyper.lr == (0.001 if name == "Adam" else 0.01)
        assert (hyper.momentum, hyper.beta1, hyper.beta2, hyper.eps) == (0.9, 0.9, 0.999, 1e-8)
        assert hyper.weight_decay == (0.0005 if name == "MomentumSGD" else 0)
        assert hyper.lr_decay_freq == (10 if name in ("MomentumSGD", "AdaGrad") else 0)
        assert hyper.lr_decay_ratio == 0.1

    def test_numbers_become_python_floats(self):
        import numpy as np

        hyper = HyperparameterOptions(lr=np.float64(0.5), weight_decay=1, lr_decay_freq=np.int64(3)).complete("adam")
        assert [type(n) for n in (hyper.lr, hyper.weight_decay, hyper.lr_decay_freq)] == [float, float, int]


class TestPrecedence:
    def test_what_is_said_comes_before_the_log_and_the_log_before_the_defaults(self):
        logged = HyperparameterOptions.from_log({**LEGACY_LOG, "opt": "MomentumSGD"})
        hyper = HyperparameterOptions(weight_decay=0.1).over(logged).complete("momentumsgd")
        assert (hyper.weight_decay, hyper.lr, hyper.lr_decay_freq, hyper.momentum) == (0.1, 0.03, 20, 0.9)

    @pytest.mark.parametrize("said", [{"lr": 0.5}, {"adam_alpha": 0.5}])
    def test_both_names_of_adams_rate_come_before_those_of_the_log(self, said):
        logged = HyperparameterOptions.from_log({**LEGACY_LOG, "opt": "Adam"})
        assert HyperparameterOptions(**said).over(logged).complete("adam").lr == 0.5

    def test_adam_alpha_comes_before_lr(self):
        assert HyperparameterOptions(lr=0.5, adam_alpha=0.25).complete("adam").lr == 0.25
        assert HyperparameterOptions(lr=0.5, adam_alpha=0.25).complete("rmsprop").lr == 0.5

    def test_nothing_said_is_nothing(self):
        assert HyperparameterOptions().learning_rate("adam") is None
        assert HyperparameterOptions().algorithm is None
        assert HyperparameterOptions(opt="momentumsgd").algorithm == "momentumsgd"


class TestLegacyLog:
    """The legacy program wrote every option, and used few: weight decay with MomentumSGD, a falling rate with two."""

    @pytest.mark.parametrize(
        ("name", "lr", "weight_decay", "decay"),
        [("Adam", 0.002, 0, 0), ("MomentumSGD", 0.03, 0.0007, 20), ("AdaGrad", 0.03, 0, 20), ("RMSprop", 0.03, 0, 0)],
    )
    def test_only_what_the_optimizer_used_is_taken(self, name, lr, weight_decay, decay):
        hyper = HyperparameterOptions.from_log({**LEGACY_LOG, "opt": name}).complete(name.lower())
        assert (hyper.lr, hyper.weight_decay, hyper.lr_decay_freq) == (lr, weight_decay, decay)
        if name == "Adam":
            assert (hyper.beta1, hyper.beta2, hyper.eps) == (0.8, 0.99, 1e-7)

    def test_our_own_log_is_taken_as_it_is(self):
        ours = {**LEGACY_LOG, "opt": "Adam", "momentum": 0.9, "lr": 0.002}
        hyper = HyperparameterOptions.from_log(ours).complete("adam")
        assert (hyper.lr, hyper.weight_decay, hyper.lr_decay_freq) == (0.002, 0.0007, 20)

    def test_strangers_are_passed_over(self):
        assert HyperparameterOptions.from_log({"fname_index": 0}) == HyperparameterOptions()

    @pytest.mark.parametrize("said", [{"opt": 3}, {"opt": "Sorcery"}, {"adam_beta1": "z"}, {"lr": [1]}, {"lr": True}])
    def test_what_another_program_may_have_written_is_left_out(self, said):
        assert HyperparameterOptions.from_log(said) == HyperparameterOptions()


class TestLearningRate:
    def test_it_falls_after_every_so_many_epochs(self):
        hyper = HyperparameterOptions(lr=0.8, lr_decay_freq=2, lr_decay_ratio=0.5).complete("rmsprop")
        assert [hyper.learning_rate(e, 10) for e in (0, 1.9, 2, 3, 4, 9)] == [0.8, 0.8, 0.4, 0.4, 0.2, 0.05]

    def test_it_stays_where_it_is_not_to_fall(self):
        hyper = HyperparameterOptions(lr=0.8, lr_decay_freq=0).complete("momentumsgd")
        assert {hyper.learning_rate(epoch, 10) for epoch in range(100)} == {0.8}

    def test_half_a_cosine(self):
        hyper = HyperparameterOptions(lr=0.8, schedule="cosine").complete("adam")
        assert [hyper.learning_rate(e, 4) for e in (0, 2, 4, 9)] == pytest.approx([0.8, 0.4, 0, 0])

    def test_warmup_rises_linearly_to_the_rate(self):
        hyper = HyperparameterOptions(lr=0.8, warmup=2, lr_decay_freq=0).complete("momentumsgd")
        assert [hyper.learning_rate(e, 4) for e in (0, 0.5, 1, 2, 3)] == pytest.approx([0.0008, 0.2, 0.4, 0.8, 0.8])


class TestRefusals:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"lr": 0}, "lr is 0.0; it has to be positive"),
            ({"lr": float("inf")}, "lr is inf; it has to be positive and finite"),
            ({"lr": float("nan")}, "lr is nan"),
            ({"adam_eps": -1}, "eps is -1.0; it has to be positive"),
            ({"lr_decay_ratio": 0}, "lr_decay_ratio is 0.0"),
            ({"adam_beta1": 1}, "beta1 is 1.0; it has to be at least 0 and below 1"),
            ({"momentum": -0.1}, "momentum is -0.1"),
            ({"weight_decay": -1}, "weight_decay is -1.0; it has to be 0 or more, and finite"),
            ({"weight_decay": math.inf}, "weight_decay is inf; it has to be 0 or more, and finite"),
            ({"warmup": math.inf}, "warmup is inf; it has to be 0 or more, and finite"),
            ({"lr_decay_freq": -1}, "lr_decay_freq is -1; it has to be 0 or more, and finite"),
            ({"schedule": "linear"}, "there is no schedule 'linear'; there are step, cosine"),
        ],
    )
    def test_hyperparameters_out_of_range(self, given, message):
        with pytest.raises(ValueError, match=message):
            HyperparameterOptions(**given).complete("adam")

    def test_an_unknown_optimizer(self):
        with pytest.raises(ValueError, match="there is no optimizer 'SGD'; there are Adam, AdamW, MomentumSGD, Ada"):
            _ = HyperparameterOptions(opt="SGD").algorithm

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"epochs": 0}, "epochs is 0; it has to be at least 1"),
            ({"batch_size": 0}, "batch_size is 0"),
            ({"snapshot": 0}, "snapshot is 0"),
            ({"show_log_iter": 0}, "show_log_iter is 0"),
            ({"valid_freq": -1}, "valid_freq is -1; it has to be 0 or more"),
            ({"start_epoch": -1}, "start_epoch is -1; it has to be 0 or more"),
            ({"seed": -1}, "seed is -1; it has to be 0 or more"),
            ({"cache": -1}, "cache is -1; it has to be a number of bytes, or 0 for none"),
            ({"threads": 0}, "threads is 0; it has to be at least 1"),
            ({"dropout": 1.0}, "dropout is 1.0; it has to be at least 0 and below 1"),
            ({"nonfinite_gradients": "zero"}, "nonfinite_gradients is one of error, skip"),
            ({"init": Path("a"), "resume": Path("b")}, "choose one"),
            ({"state": False}, "--no-state is of a file that is resumed"),
            ({"init": Path("a"), "width": "0.5"}, "--width is of a network that is made anew, and --init has its own"),
            ({"finetune": Path("a"), "stacks": 2}, "--stacks is of a network that is made anew, and --finetune has"),
        ],
    )
    def test_options_out_of_range(self, given, message):
        with pytest.raises(ValueError, match=message):
            options(**given)

    def test_the_least_of_each_is_taken(self):
        least = {"epochs": 1, "batch_size": 1, "snapshot": 1, "valid_freq": 0, "start_epoch": 0, "seed": 0, "cache": 0}
        assert {name: getattr(options(**least), name) for name in least} == least
