import io

import numpy as np
import pytest
import torch

from deeppose_port.backends.torch.optimizers import (
    OPTIMIZERS,
    AdaGrad,
    Adam,
    AdamW,
    ChainerOptimizer,
    MomentumSGD,
    RMSprop,
)
from tests.helpers.trainings import RULES, rule_error, rule_gradients

BY_NAME = {"Adam": Adam, "MomentumSGD": MomentumSGD, "AdaGrad": AdaGrad, "RMSprop": RMSprop}
EVERY = pytest.mark.parametrize("name", RULES)


def optimizer_of(name, parameters, **given):
    return BY_NAME[name](parameters, **{**RULES[name], **given})


def parameter(values=(1.0,)):
    return torch.nn.Parameter(torch.tensor(np.array(values), dtype=torch.float32))


def update(optimizer, *gradients):
    """Updates with a gradient for each parameter of the optimizer; None for none."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for p, gradient in zip(parameters, gradients, strict=True):
        p.grad = None if gradient is None else torch.tensor(np.array(gradient), dtype=torch.float32)
    optimizer.step()


class TestAgainstChainer:
    def follow(self, name, file, steps):
        """Makes the 20 updates; compares with the steps that the file holds."""
        start, gradients = rule_gradients()
        weights = parameter(start)
        optimizer = optimizer_of(name, [weights])
        with np.load(file) as arrays:
            np.testing.assert_array_equal(arrays[f"{name}_W0"], start)
            for step, gradient in enumerate(gradients, 1):
                update(optimizer, gradient)
                if step in steps:
                    expected = arrays[f"{name}_W{step}"]
                    assert rule_error(weights.detach().numpy(), expected, start) <= 1e-6, f"step {step}"

    @EVERY
    def test_twenty_updates_are_chainers(self, name, golden):
        self.follow(name, golden / "training" / "update-rules-chainer1.13.npz", {20})

    @EVERY
    def test_every_one_of_them_is(self, name, shared_golden):
        self.follow(name, shared_golden / "training" / "update-rules-chainer1.13.npz", set(range(1, 21)))

    def test_pytorchs_own_adam_is_another_rule(self, golden):
        start, gradients = rule_gradients()
        weights = parameter(start)
        optimizer = torch.optim.Adam([weights], lr=0.001, eps=1e-8)
        for gradient in gradients:
            update(optimizer, gradient)
        with np.load(golden / "training" / "update-rules-chainer1.13.npz") as arrays:
            assert rule_error(weights.detach().numpy(), arrays["Adam_W20"], start) > 1e-2


class TestOverflow:
    """What Chainer's rules do with gradients 1, 1e20, inf and nan, each once, and then 1."""

    def elements(self, name):
        """The four elements after each of five updates."""
        weights = parameter(np.ones(4))
        optimizer = optimizer_of(name, [weights], weight_decay=0.0)
        seen = []
        for gradient in ([1, 1e20, np.inf, np.nan], *[[1.0] * 4] * 4):
            update(optimizer, gradient)
            seen.append(weights.detach().numpy().copy())
        return np.array(seen).T

    def test_adam_loses_a_weight_one_step_after_its_square_overflows(self):
        one, huge, infinite, nan = self.elements("Adam")
        assert np.isfinite(one).all()
        assert np.isfinite(huge[0])
        assert np.isnan(huge[1:]).all()
        assert np.isnan([infinite, nan]).all()

    @pytest.mark.parametrize(("name", "frozen_at"), [("AdaGrad", 1), ("RMSprop", 0.99)])
    def test_a_huge_gradient_freezes_the_weight(self, name, frozen_at):
        one, huge, infinite, nan = self.elements(name)
        assert len(set(one.tolist())) == 5
        # AdaGrad's square overflows; 0.01 * 1e20 * 1e20 does not, and the step is lr * 1e20 / 1e19.
        assert (huge == np.float32(frozen_at)).all()
        assert np.isnan([infinite, nan]).all()

    def test_momentum_sgd_goes_to_infinity(self):
        one, huge, infinite, nan = self.elements("MomentumSGD")
        assert np.isfinite([one, huge]).all()
        assert huge[0] == np.float32(-1e18)
        assert (infinite == -np.inf).all()
        assert np.isnan(nan).all()


class TestLearningRate:
    def test_momentums_velocity_contains_the_rate_that_it_was_made_with(self):
        weights, expected, velocity = parameter([1.0, -2.0]), np.array([1.0, -2.0]), np.zeros(2)
        optimizer = MomentumSGD([weights], lr=0.1)
        for step, lr in enumerate([0.1, 0.1, 0.01, 0.01, 1.0]):
            optimizer.param_groups[0]["lr"] = lr
            gradient = np.array([step + 1.0, 0.5])
            update(optimizer, gradient)
            velocity = 0.9 * velocity - lr * gradient
            expected = expected + velocity
        np.testing.assert_allclose(weights.detach(), expected, rtol=1e-6)
        np.testing.assert_allclose(optimizer.state[weights]["v"], velocity, rtol=1e-6)

    def test_a_schedule_of_pytorchs_works(self):
        weights = parameter()
        optimizer = AdaGrad([weights], lr=0.4)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        rates = []
        for _ in range(3):
            update(optimizer, [1.0])
            rates.append(optimizer.param_groups[0]["lr"])
            schedule.step()
        assert rates == [0.4, 0.2, 0.1]

    @EVERY
    def test_groups_have_rates_of_their_own(self, name):
        fast, slow, still = parameter(), parameter(), parameter()
        groups = [{"params": [fast], "lr": 0.1}, {"params": [slow, still]}]
        optimizer = optimizer_of(name, groups, lr=0.01, weight_decay=0.0)
        update(optimizer, [2.0], [2.0], [0.0])
        moved = [1 - float(p.detach()) for p in (fast, slow, still)]
        assert moved[0] == pytest.approx(10 * moved[1], rel=1e-4)
        assert moved[1] > 0
        assert moved[2] == 0

    @pytest.mark.parametrize("lr", [0, -1, float("nan")])
    def test_it_is_positive(self, lr):
        with pytest.raises(ValueError, match="lr is"):
            Adam([parameter()], lr=lr)


class TestWeightDecay:
    @EVERY
    def test_it_is_added_to_every_gradient(self, name):
        """Biases and BatchNormalization too: one with decay moves as one whose gradient has the term in it."""
        shapes = [(3, 2), (3,), ()]
        random = np.random.RandomState(1)
        starts = [np.float32(random.randn(*shape)) for shape in shapes]
        decayed, plain = [parameter(s) for s in starts], [parameter(s) for s in starts]
        first = optimizer_of(name, decayed, weight_decay=0.01)
        second = optimizer_of(name, plain, weight_decay=0.0)
        for _ in range(3):
            gradients = [random.randn(*shape) for shape in shapes]
            update(first, *gradients)
            update(second, *(g + 0.01 * p.detach().numpy() for g, p in zip(gradients, plain, strict=True)))
        for a, b, start in zip(decayed, plain, starts, strict=True):
            assert not np.array_equal(a.detach().numpy(), start)
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)

    def test_gradients_are_left_as_they_are(self):
        weights = parameter()
        optimizer = MomentumSGD([weights], weight_decay=0.5)
        update(optimizer, [3.0])
        assert weights.grad.tolist() == [3.0]

    def test_it_is_not_negative(self):
        with pytest.raises(ValueError, match="weight_decay is -1"):
            MomentumSGD([parameter()], weight_decay=-1)


class TestStep:
    @EVERY
    def test_a_closure_computes_the_loss_anew(self, name):
        weights = parameter([3.0])
        optimizer = optimizer_of(name, [weights])

        def closure():
            optimizer.zero_grad()
            loss = (weights * weights).sum()
            loss.backward()
            return loss

        assert optimizer.step(closure).item() == 9.0
        assert float(weights.detach()) < 3.0
        assert optimizer.step() is None

    @EVERY
    def test_all_tensors_at_once_move_as_each_alone(self, name):
        random = np.random.RandomState(2)
        shapes = [(), (7,), (4, 3), (4, 3, 5, 5), (1, 1, 1, 1)]
        starts = [np.float32(random.randn(*shape)) for shape in shapes]
        together, alone = [parameter(s) for s in starts], [parameter(s) for s in starts]
        together[3].data = together[3].data.contiguous(memory_format=torch.channels_last)
        optimizer = optimizer_of(name, together)
        each = [optimizer_of(name, [p]) for p in alone]
        for step in range(4):
            gradients = [random.randn(*shape) for shape in shapes]
            gradients[1] = None if step == 1 else gradients[1]
            update(optimizer, *gradients)
            for one, gradient in zip(each, gradients, strict=True):
                update(one, gradient)
        for a, b in zip(together, alone, strict=True):
            assert torch.equal(a, b)
        assert together[3].is_contiguous(memory_format=torch.channels_last)

    def test_a_parameter_without_a_gradient_stays(self):
        weights, other = parameter(), parameter()
        optimizer = MomentumSGD([weights, other], weight_decay=0.1)
        update(optimizer, None, [1.0])
        assert weights.item() == 1
        assert weights not in optimizer.state

    def test_each_parameter_counts_its_own_updates(self):
        early, late = parameter(), parameter()
        optimizer = Adam([early, late], lr=0.1)
        for _ in range(9):
            update(optimizer, [1.0], None)
        before = early.item()
        update(optimizer, [1.0], [1.0])
        # With bias correction, the first step of a constant gradient is as long as every other.
        assert 1 - late.item() == pytest.approx(0.1, rel=1e-4)
        assert before - early.item() == pytest.approx(0.1, rel=1e-4)


class TestState:
    def trained(self, name, steps=3):
        random = np.random.RandomState(3)
        weights = [parameter(random.randn(4, 3)), parameter(random.randn(4))]
        optimizer = optimizer_of(name, weights)
        for _ in range(steps):
            update(optimizer, random.randn(4, 3), random.randn(4))
        return optimizer, weights

    @EVERY
    def test_a_state_dict_that_was_saved_goes_on(self, name):
        optimizer, weights = self.trained(name)
        optimizer.param_groups[0]["lr"] = 0.123
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        copies = [parameter(p.detach().numpy()) for p in weights]
        restored = BY_NAME[name](copies)
        restored.load_state_dict(torch.load(file, weights_only=True))
        assert restored.param_groups[0]["lr"] == 0.123
        for gradient in (1.0, -2.0):
            for one in (optimizer, restored):
                update(one, np.full((4, 3), gradient), np.full(4, gradient))
        for a, b in zip(weights, copies, strict=True):
            assert torch.equal(a, b)

    @EVERY
    def test_slots_have_chainers_names_and_travel(self, name):
        optimizer, weights = self.trained(name)
        names = dict(zip(("a.weight", "a.bias"), weights, strict=True))
        slots = optimizer.read_slots(names)
        chainers = {"Adam": ["m", "v"], "MomentumSGD": ["v"], "AdaGrad": ["h"], "RMSprop": ["ms"]}
        assert list(slots) == chainers[name]
        for tensors in slots.values():
            assert {n: a.shape for n, a in tensors.items()} == {"a.weight": (4, 3), "a.bias": (4,)}
            assert all(a.dtype == np.float32 and a.any() for a in tensors.values())
        copies = [parameter(p.detach().numpy()) for p in weights]
        restored = optimizer_of(name, copies)
        restored.load_slots(dict(zip(names, copies, strict=True)), slots, step=3)
        for one in (optimizer, restored):
            update(one, np.ones((4, 3)), np.ones(4))
        for a, b in zip(weights, copies, strict=True):
            assert torch.equal(a, b)

    def test_slots_that_were_read_are_not_the_optimizers_own(self):
        optimizer, weights = self.trained("AdaGrad")
        slots = optimizer.read_slots({"w": weights[0], "b": weights[1]})
        slots["h"]["w"][:] = 7
        assert not (optimizer.state[weights[0]]["h"] == 7).any()
        optimizer.load_slots({"w": weights[0], "b": weights[1]}, slots, step=3)
        update(optimizer, np.ones((4, 3)), np.ones(4))
        assert (slots["h"]["w"] == 7).all()

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    def test_slots_of_another_precision_and_read_only_ones_load(self, dtype):
        weights = parameter(np.ones((2, 3)))
        optimizer = AdaGrad([weights])
        slot = np.asfortranarray(np.arange(6, dtype=dtype).reshape(2, 3))
        slot.flags.writeable = False
        optimizer.load_slots({"w": weights}, {"h": {"w": slot}}, step=1)
        assert optimizer.state[weights]["h"].dtype == torch.float32
        assert np.array_equal(optimizer.state[weights]["h"], slot)

    @EVERY
    def test_before_the_first_update_slots_are_zero(self, name):
        weights = parameter(np.ones((2, 3)))
        slots = optimizer_of(name, [weights]).read_slots({"w": weights})
        assert all(not tensors["w"].any() and tensors["w"].shape == (2, 3) for tensors in slots.values())

    def test_slots_lie_in_memory_as_their_parameters_do(self):
        weights = torch.nn.Parameter(torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last))
        optimizer = MomentumSGD([weights], lr=0.1)
        velocity = np.random.RandomState(0).randn(4, 3, 5, 5).astype(np.float32)
        optimizer.load_slots({"w": weights}, {"v": {"w": velocity}}, step=1)
        assert optimizer.state[weights]["v"].is_contiguous(memory_format=torch.channels_last)
        read = optimizer.read_slots({"w": weights})["v"]["w"]
        assert read.flags.c_contiguous
        assert np.array_equal(read, velocity)


def test_every_algorithm_of_checkpoints_has_one():
    assert {algorithm: kind.algorithm for algorithm, kind in OPTIMIZERS.items()} == {
        name.lower(): name.lower() for name in (*RULES, "AdamW")
    }
    assert all(issubclass(kind, ChainerOptimizer) and kind.__doc__ for kind in OPTIMIZERS.values())
    assert all("torch.optim" in kind.__doc__ for kind in OPTIMIZERS.values())


class TestAdamW:
    def test_it_is_pytorchs_with_a_decay_of_what_has_dimensions(self):
        random = np.random.default_rng(0)
        weights, bias = random.normal(size=(7, 5)), random.normal(size=7)
        ours, theirs = ([parameter(weights), parameter(bias)] for _ in range(2))
        optimizer = AdamW(ours, lr=0.01, weight_decay=0.1)
        groups = [{"params": theirs[:1], "weight_decay": 0.1}, {"params": theirs[1:], "weight_decay": 0.0}]
        reference = torch.optim.AdamW(groups, lr=0.01, foreach=True)
        for step in range(20):
            rate = 0.01 * (1 + step % 3)
            for group in (*optimizer.param_groups, *reference.param_groups):
                group["lr"] = rate
            gradients = [random.normal(size=p.shape) * 10 ** random.uniform(-9, 0) for p in ours]
            update(optimizer, *gradients)
            update(reference, *gradients)
        for mine, other, start in zip(ours, theirs, (weights, bias), strict=True):
            assert rule_error(mine.detach().numpy(), other.detach().numpy(), start) <= 1e-7

    def test_it_has_adams_state(self):
        assert AdamW.slots == Adam.slots
