"""The reference is SPEC: each promise against a second witness, and the comparisons that all other tests rely on."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from fastwave import WaveNet, WaveNetConfig, dilation_cycle, reference
from fastwave.reference import StackWeights
from tolerances import EXACT, FLOORS, assert_as_close_as_eager, assert_exact

B, R, G, S, H, A, C = 2, 3, 4, 5, 6, 7, 2


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def stack_parameters(layers: int, taps: int = 2, skips: int = S) -> dict[str, torch.Tensor]:
    """Random weights of a residual stack, by the fields of `StackWeights`."""
    shapes = {
        "dilated_weight": (layers, taps, R, 2 * G),
        "dilated_bias": (layers, 2 * G),
        "residual_weight": (layers - 1, G, R),
        "residual_bias": (layers - 1, R),
        "skip_weight": (layers, G, skips),
        "skip_bias": (skips,),
        "condition_weight": (layers, C, 2 * G),
    }
    return {name: random(*shape, seed=seed) * 0.5 for seed, (name, shape) in enumerate(shapes.items())}


# The comparisons themselves


@pytest.mark.parametrize("dtype", FLOORS)
def test_a_result_with_eagers_own_error_passes_and_a_planted_error_fails(dtype):
    exact = random(50)
    eager = exact.to(dtype)
    figures = assert_as_close_as_eager(eager.clone(), eager, exact)
    assert "limit" in figures
    planted = eager.clone()
    planted[31] += 8 * torch.finfo(dtype).eps * float(exact.abs().max())
    with pytest.raises(AssertionError, match=r"worst at index \(31,\)"):
        assert_as_close_as_eager(planted, eager, exact)


def test_the_limit_is_twice_eagers_error_plus_the_floor():
    exact, error = torch.full((9,), 4.0, dtype=torch.float64), 1e-3
    eager = (exact + error).float()
    limit = 2 * error + FLOORS[torch.float32] * 4
    assert_as_close_as_eager((exact - 0.999 * limit).float(), eager, exact)
    with pytest.raises(AssertionError, match="limit"):
        assert_as_close_as_eager((exact - 1.001 * limit).float(), eager, exact)


def test_exact_passes_below_its_limit_and_fails_above():
    for expected in (random(20), 1e6 * random(20)):
        unit = EXACT * max(1.0, float(expected.abs().max()))
        assert_exact(expected + 0.9 * unit, expected)
        with pytest.raises(AssertionError, match="differs by"):
            assert_exact(expected + 1.1 * unit, expected)
        with pytest.raises(AssertionError, match="differs by"):  # what once went through float32 is not exact
            assert_exact(expected.float().double(), expected)


NAN = torch.tensor([1.0, float("nan")], dtype=torch.float64)
ONE = torch.ones(2, dtype=torch.float64)
INCOMPARABLE = {
    "nan-result": (NAN.float(), ONE.float(), ONE),
    "nan-eager": (ONE.float(), NAN.float(), ONE),
    "nan-everywhere": (NAN.float(), NAN.float(), NAN),
    "infinite-result": (ONE.float() / 0, ONE.float() / 0, ONE),
    "another-dtype": (ONE.float(), ONE.bfloat16(), ONE),
    "measured-by-float32": (ONE.float(), ONE.float(), ONE.float()),
    "would-broadcast": (ONE.float()[:1], ONE.float(), ONE),
    "empty": (ONE.float()[:0], ONE.float()[:0], ONE[:0]),
}


@pytest.mark.parametrize("name", INCOMPARABLE)
def test_what_cannot_be_compared_never_passes(name):
    actual, eager, exact = INCOMPARABLE[name]
    with pytest.raises(AssertionError):
        assert_as_close_as_eager(actual, eager, exact)
    with pytest.raises(AssertionError):
        assert_exact(actual, exact)


# Convolutions


def test_the_worked_example_of_the_causal_layer():
    x = torch.stack([torch.arange(1.0, 9.0), torch.arange(8.0, 0.0, -1.0)], dim=-1)[None]
    weight = torch.eye(2).expand(2, 2, 2)  # two taps, each channel to itself with weight 1
    out = reference.dilated_convolution(reference.extend(x, 1, None), weight, 1)
    assert out[0, :, 0].tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    assert out[0, :, 1].tolist() == [8, 15, 13, 11, 9, 7, 5, 3]


SHAPES = [(2, 1, 9), (2, 4, 16), (2, 4, 13), (3, 1, 5), (3, 3, 20), (3, 7, 5), (5, 2, 11), (4, 6, 6), (2, 9, 1)]


@pytest.mark.parametrize(("taps", "dilation", "steps"), SHAPES)
def test_a_dilated_convolution_equals_torchs(taps, dilation, steps):
    x, weight = random(B, steps, R), random(taps, R, 2 * G, seed=1)
    extended = reference.extend(x, (taps - 1) * dilation, None)
    padded = F.pad(x.transpose(1, 2), ((taps - 1) * dilation, 0))
    expected = F.conv1d(padded, weight.permute(2, 1, 0), dilation=dilation).transpose(1, 2)
    assert_exact(reference.dilated_convolution(extended, weight, dilation), expected)


@pytest.mark.parametrize(("taps", "dilation", "steps"), SHAPES)
def test_a_dilated_convolution_is_a_plain_one_on_every_dth_step(taps, dilation, steps):
    x, weight = random(B, steps, R), random(taps, R, 2 * G, seed=1)
    extended = reference.extend(x, (taps - 1) * dilation, None)
    uneven = -extended.shape[1] % dilation
    columns = reference.time_to_batch(F.pad(extended, (0, 0, uneven, 0)), dilation)
    plain = reference.dilated_convolution(columns, weight, 1)
    expected = reference.batch_to_time(plain, dilation)[:, uneven:]
    assert_exact(reference.dilated_convolution(extended, weight, dilation), expected)


def test_time_to_batch_takes_every_dth_step_and_batch_to_time_brings_it_back():
    x = torch.arange(12.0).reshape(2, 6, 1)
    columns = reference.time_to_batch(x, 3)
    assert columns[..., 0].tolist() == [[0, 3], [1, 4], [2, 5], [6, 9], [7, 10], [8, 11]]
    assert torch.equal(reference.batch_to_time(columns, 3), x)


# The first layer


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("taps", [1, 2, 3, 6])
def test_the_front_is_a_causal_convolution_of_one_hot_classes(taps, steps):
    tokens = torch.randint(A, (B, steps), generator=torch.Generator().manual_seed(0))
    weight = random(taps, A, R)
    one_hot = F.pad(F.one_hot(tokens, A).double().transpose(1, 2), (taps - 1, 0))
    expected = F.conv1d(one_hot, weight.permute(2, 1, 0)).transpose(1, 2)
    assert_exact(reference.front(tokens, weight), expected)


@pytest.mark.parametrize("steps", [1, 2, 3, 8])
@pytest.mark.parametrize("taps", [1, 2, 3, 6])
def test_the_front_of_a_waveform_is_a_causal_convolution(taps, steps):
    wave, weight = random(B, steps), random(taps, 1, R, seed=1)
    expected = F.conv1d(F.pad(wave[:, None], (taps - 1, 0)), weight.permute(2, 1, 0)).transpose(1, 2)
    assert_exact(reference.front(wave, weight), expected)


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_the_front_activation_takes_the_bias_and_leaves_the_excitation_as_it_is(name):
    wave, weight, bias = random(B, 8), random(3, 1, R, seed=1), random(R, seed=2)
    excitation, excitation_weight = random(B, 8, 2, seed=3), random(2, R, seed=4)
    convolved = F.conv1d(F.pad(wave[:, None], (2, 0)), weight.permute(2, 1, 0), bias).transpose(1, 2)
    expected = getattr(torch, name)(convolved) + excitation @ excitation_weight
    assert_exact(reference.front(wave, weight, None, excitation, excitation_weight, bias, name), expected)


# The stack and the head, one number at a time


def literal_stack(x, p, dilations, condition):
    """SPEC's formulas with a loop for every index but the channels."""
    taps = p["dilated_weight"].shape[1]
    batch, steps = x.shape[:2]
    skip = p["skip_bias"].repeat(batch, steps, 1)
    for layer, dilation in enumerate(dilations):
        after = x.clone()
        for row, t in itertools.product(range(batch), range(steps)):
            a = p["dilated_bias"][layer] + p["condition_weight"][layer].T @ condition[row, t]
            for k in range(taps):
                past = t - (taps - 1 - k) * dilation
                if past >= 0:
                    a = a + p["dilated_weight"][layer, k].T @ x[row, past]
            z = torch.tanh(a[:G]) / (1 + torch.exp(-a[G:]))
            skip[row, t] += p["skip_weight"][layer].T @ z
            if layer < len(dilations) - 1:
                after[row, t] += p["residual_weight"][layer].T @ z + p["residual_bias"][layer]
        x = after
    return skip


@pytest.mark.parametrize(("taps", "dilations"), [(2, (1, 2, 4)), (3, (1, 3)), (5, (2,)), (2, (7, 1, 5, 1))])
def test_the_stack_is_specs_formulas_number_by_number(taps, dilations):
    p, x, condition = stack_parameters(len(dilations), taps), random(B, 12, R, seed=9), random(B, 12, C, seed=10)
    skip_sum, _ = reference.residual_stack(x, StackWeights(**p), dilations, condition)
    assert_exact(skip_sum, literal_stack(x, p, dilations, condition))


def test_without_condition_the_stack_is_that_of_a_zero_condition():
    p, x = stack_parameters(3), random(B, 12, R, seed=9)
    expected = literal_stack(x, p, (1, 2, 4), torch.zeros(B, 12, C).double())
    del p["condition_weight"]
    assert_exact(reference.residual_stack(x, StackWeights(**p), (1, 2, 4))[0], expected)


def test_one_layer_has_no_residual_weight_and_still_a_skip():
    p, x = stack_parameters(1), random(B, 9, R, seed=9)
    assert p["residual_weight"].shape == (0, G, R)
    condition = random(B, 9, C, seed=10)
    skip_sum, next_history = reference.residual_stack(x, StackWeights(**p), (3,), condition=condition)
    assert_exact(skip_sum, literal_stack(x, p, (3,), condition))
    assert torch.equal(next_history[0], x[:, -3:])


def test_the_head_is_relu_linear_relu_linear():
    skip_sum, w0, b0, w1, b1 = random(B, 5, S), random(S, H, seed=1), random(H, seed=2), random(H, A, seed=3), random(A)
    first = F.linear(skip_sum.clamp(min=0), w0.T, b0)
    assert_exact(reference.head(skip_sum, w0, b0, w1, b1), F.linear(first.clamp(min=0), w1.T, b1))


def test_float64_gradients_of_the_stack_match_finite_differences():
    p, dilations = stack_parameters(2), (1, 2)
    x, condition = random(1, 4, R, seed=9), random(1, 4, C, seed=10)
    history = [random(1, dilation, R, seed=20 + dilation) for dilation in dilations]
    inputs = [tensor.requires_grad_() for tensor in (x, condition, *history, *p.values())]

    def stack(x, condition, first, second, *weights):
        history = [first, second]
        skip_sum, next_history = reference.residual_stack(x, StackWeights(*weights), dilations, condition, history)
        return skip_sum, *next_history

    assert torch.autograd.gradcheck(stack, inputs)


# How far it sees

FIELDS = {
    "plain": {"dilations": (1, 2, 4, 8)},
    "one-layer": {"dilations": (1,)},
    "front2": {"front_kernel": 2, "dilations": (1, 2, 4)},
    "front3-odd": {"front_kernel": 3, "dilations": (1, 3, 5, 7)},
    "taps3": {"kernel_size": 3, "dilations": (1, 2, 4)},
    "taps3-front2-powers-of-three": {"kernel_size": 3, "front_kernel": 2, "dilations": (1, 3, 9, 27)},
    "taps5-front3": {"kernel_size": 5, "front_kernel": 3, "dilations": (2, 3)},
    "falling": {"kernel_size": 3, "dilations": (9, 4, 1, 1)},
    "two-stacks": {"dilations": dilation_cycle(depth=5, stacks=2)},
    "eight-stacks-of-ten": {"dilations": dilation_cycle(depth=10, stacks=8)},
}


def pcm_model(**fields: object) -> WaveNet:
    """A float64 model of scalar input, so that the gradient of an output tells which inputs it sees."""
    torch.manual_seed(0)
    config = WaveNetConfig(residual_channels=2, skip_channels=4, codec="pcm", classes=0, output="gaussian", **fields)
    model = WaveNet(config, backend="reference").double()
    with torch.no_grad():
        model.get_parameter("skip.bias").fill_(5)  # keeps the head's rectifiers open: they are not the question
        model.get_parameter("head.0.weight").abs_()
    return model


def inputs_seen(model: WaveNet, at: int) -> list[int]:
    """The inputs with a gradient from output `at`, among some that come too early and some too late."""
    wave = (random(1, at + 8) / 3).requires_grad_()
    model(wave)[0, at].sum().backward()
    return wave.grad[0].nonzero()[:, 0].tolist()


@pytest.mark.parametrize("name", FIELDS)
def test_an_output_sees_exactly_its_receptive_field(name):
    model = pcm_model(**FIELDS[name])
    at = model.config.receptive_field + 12
    assert inputs_seen(model, at) == list(range(13, at + 1))


def test_with_gaps_between_taps_the_receptive_field_is_the_reach():
    model = pcm_model(kernel_size=3, dilations=(7, 3))
    at = model.config.receptive_field + 12
    assert inputs_seen(model, at) == sorted(at - 7 * i - 3 * j for i in range(3) for j in range(3))
    assert min(inputs_seen(model, at)) == 13


def test_the_receptive_field_of_eight_stacks_of_ten_is_8185():
    assert WaveNetConfig(dilations=dilation_cycle(depth=10, stacks=8)).receptive_field == 8185


@pytest.mark.parametrize("name", ["front3-odd", "taps5-front3"])
def test_a_changed_class_changes_exactly_the_outputs_that_see_it(name):
    torch.manual_seed(0)
    config = WaveNetConfig(residual_channels=4, skip_channels=8, classes=A, **FIELDS[name])
    model = WaveNet(config, backend="reference").double()
    tokens = torch.randint(A, (1, config.receptive_field + 30))
    changed = tokens.clone()
    changed[0, 12] = (tokens[0, 12] + 1) % A
    differs = (model(changed) != model(tokens)).any(dim=-1)[0].nonzero()[:, 0]
    assert differs.tolist() == list(range(12, 12 + config.receptive_field))


def test_an_output_sees_its_conditioning_up_to_its_own_step():
    # the condition enters after a layer's taps, so the first layer's and the front's reach is not added
    p, dilations = stack_parameters(3, taps=3), (5, 2, 3)
    condition = random(1, 40, C, seed=10).requires_grad_()
    reference.residual_stack(random(1, 40, R), StackWeights(**p), dilations, condition)[0][0, 30].sum().backward()
    seen = condition.grad[0].abs().sum(dim=-1).nonzero()[:, 0]
    reached = {0} | {2 * 3 - 3 * i for i in range(3)} | {3 * i + 2 * j for i in range(3) for j in range(3)}
    assert seen.tolist() == sorted(30 - back for back in reached)


# Other ways to write the same model


def test_valid_convolutions_with_sliced_skips_compute_the_same_numbers():
    taps, dilations = 3, (1, 2, 4, 3)
    p, x = stack_parameters(len(dilations), taps), random(B, 40, R, seed=9)
    del p["condition_weight"]
    lost = (taps - 1) * sum(dilations)
    skips, narrow = p["skip_bias"], x
    for layer, dilation in enumerate(dilations):
        kernel = p["dilated_weight"][layer].permute(2, 1, 0)
        a = F.conv1d(narrow.transpose(1, 2), kernel, p["dilated_bias"][layer], dilation=dilation).transpose(1, 2)
        z = torch.tanh(a[..., :G]) * torch.sigmoid(a[..., G:])
        skips = skips + (z @ p["skip_weight"][layer])[:, -(40 - lost) :]
        if layer < len(dilations) - 1:
            narrow = narrow[:, -z.shape[1] :] + z @ p["residual_weight"][layer] + p["residual_bias"][layer]
    assert_exact(reference.residual_stack(x, StackWeights(**p), dilations)[0][:, lost:], skips)


def test_scaled_residuals_and_running_skip_scales_fold_into_the_weights():
    scale, skip_scale, dilations = 0.5**0.5, 0.8, (1, 2, 4, 1)
    p, x = stack_parameters(len(dilations)), random(B, 20, R, seed=9)
    del p["condition_weight"]
    # given the variant: x' = scale * (x + W z + b) in every layer, skip' = skip_scale * (skip + V z)
    layer_input, skip = x, p["skip_bias"].expand(B, 20, S)
    for layer, dilation in enumerate(dilations):
        extended = reference.extend(layer_input, dilation, None)
        a = reference.dilated_convolution(extended, p["dilated_weight"][layer], dilation) + p["dilated_bias"][layer]
        z = reference.gate(a)
        skip = skip_scale * (skip + z @ p["skip_weight"][layer])
        if layer < len(dilations) - 1:
            layer_input = scale * (layer_input + z @ p["residual_weight"][layer] + p["residual_bias"][layer])
    # when its scales are folded as SPEC says, with layer l at scale^l
    power = scale ** torch.arange(len(dilations), dtype=torch.float64)
    left = skip_scale ** torch.arange(len(dilations), 0, -1, dtype=torch.float64)
    p["dilated_weight"] = p["dilated_weight"] * power[:, None, None, None]
    p["residual_weight"] = p["residual_weight"] / power[:-1, None, None]
    p["residual_bias"] = p["residual_bias"] / power[:-1, None]
    p["skip_weight"] = p["skip_weight"] * left[:, None, None]
    p["skip_bias"] = p["skip_bias"] * left[0]
    # then the plain model is the variant
    assert_exact(reference.residual_stack(x, StackWeights(**p), dilations)[0], skip)


# The answer does not depend on how you asked


@pytest.mark.parametrize("chunks", [(1,) * 30, (30,), (29, 1), (1, 29), (2, 3, 5, 7, 13), (4, 0, 26)], ids=str)
@pytest.mark.parametrize(("taps", "dilations"), [(2, (1, 2, 4, 8)), (3, (5, 1, 3)), (5, (2, 16))])
def test_a_sequence_in_any_chunks_equals_one_pass(taps, dilations, chunks):
    p, condition = stack_parameters(len(dilations), taps), random(B, 30, C, seed=10)
    x = random(B, 30, R, seed=9)
    whole, last_history = reference.residual_stack(x, StackWeights(**p), dilations, condition)
    history, parts = None, []
    for part, c in zip(x.split(chunks, dim=1), condition.split(chunks, dim=1), strict=True):
        skip_sum, history = reference.residual_stack(part, StackWeights(**p), dilations, c, history)
        assert [list(slots.shape) for slots in history] == [[B, (taps - 1) * dilation, R] for dilation in dilations]
        parts.append(skip_sum)
    assert_exact(torch.cat(parts, dim=1), whole)
    for continued, expected in zip(history, last_history, strict=True):
        assert_exact(continued, expected)


@pytest.mark.parametrize("scalar", [False, True])
@pytest.mark.parametrize("taps", [1, 2, 4])
def test_the_front_in_chunks_equals_one_pass(taps, scalar):
    generator = torch.Generator().manual_seed(0)
    tokens = random(B, 12) if scalar else torch.randint(A, (B, 12), generator=generator)
    weight = random(taps, 1 if scalar else A, R, seed=1)
    whole = reference.front(tokens, weight)
    for begin, end in itertools.combinations(range(taps - 1, 13), 2):
        history = tokens[:, begin - (taps - 1) : begin]
        assert_exact(reference.front(tokens[:, begin:end], weight, history), whole[:, begin:end])


def test_rows_of_a_batch_do_not_see_each_other():
    p, x, condition = stack_parameters(3), random(5, 20, R, seed=9), random(5, 20, C, seed=10)
    together, _ = reference.residual_stack(x, StackWeights(**p), (1, 2, 4), condition=condition)
    for row in range(5):
        row_x, row_c = x[row : row + 1], condition[row : row + 1]
        alone, _ = reference.residual_stack(row_x, StackWeights(**p), (1, 2, 4), condition=row_c)
        assert_exact(alone, together[row : row + 1])
