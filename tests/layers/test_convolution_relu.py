"""The fused Convolution + ReLU is what the two layers are one after the other."""

import numpy as np
import pytest

from cvgg.engine import Engine
from cvgg.testing import OneLayer, check_gradient

RANDOM = np.random.default_rng(12)
X = RANDOM.normal(size=(2, 3, 5, 4))
W = RANDOM.normal(size=(4, 3, 3, 3))
B = RANDOM.normal(size=4)
CONV = """layer { name: "conv" type: "Convolution" bottom: "x" top: "y"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }"""


def relu(slope: float) -> str:
    return f"""layer {{ name: "relu" type: "ReLU" bottom: "y" top: "y"
      relu_param {{ negative_slope: {slope} }} }}"""


@pytest.mark.parametrize("slope", [0, 0.25, -0.5])
def test_fused_forward_and_backward_are_those_of_the_two_layers(
    slope: float, engine: Engine
) -> None:
    dy = RANDOM.normal(size=(2, 4, 5, 4))
    fused = OneLayer(CONV + relu(slope), [X], params=[W, B], engine=engine)
    conv = OneLayer(CONV, [X], params=[W, B], engine=engine)
    after = OneLayer(relu(slope).replace('top: "y"', 'top: "z"'), conv.forward(), engine=engine)
    # 27 products, float32; a fused kernel may add them in another order
    np.testing.assert_allclose(fused.forward()[0], after.forward()[0], rtol=1e-5, atol=1e-5)
    (theirs,) = conv.backward(after.backward([dy]))
    (ours,) = fused.backward([dy])
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    for diff, expected in zip(fused.param_diffs, conv.param_diffs, strict=True):
        assert diff is not None
        assert expected is not None
        np.testing.assert_allclose(diff, expected, rtol=1e-5, atol=2e-5)  # 40 products


@pytest.mark.parametrize("slope", [0.25, -0.5])
def test_gradients_of_the_fused_layer(slope: float, engine: Engine) -> None:
    # Small weights and biases of 1 or more keep all sums away from relu's kink.
    w, bias = W / 100, np.array([1.0, -1.0, 1.5, -1.5])
    check_gradient(CONV + relu(slope), [X[:1]], params=[w, bias], engine=engine)


def test_its_params_and_workspace_are_the_convolutions(engine: Engine) -> None:
    fused = OneLayer(CONV + relu(0), [X], engine=engine).layer
    conv = OneLayer(CONV, [X], engine=engine).layer
    assert fused.params == conv.params
    assert fused.workspace(engine.kernels) == conv.workspace(engine.kernels)
