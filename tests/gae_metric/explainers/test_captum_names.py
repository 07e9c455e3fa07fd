"""Each of Captum's methods that is offered works with its defaults; the others say why not."""

import captum.attr
import numpy as np
import pytest

from gae_metric.demo import digits, networks
from gae_metric.explainers.captum import _REFUSED, _methods, captum_explainer

METHODS = sorted(_methods(captum.attr))
#: Evaluations of the model for each feature, or several: half a minute an image and more.
MANY = ("FeatureAblation", "ShapleyValueSampling")


@pytest.mark.parametrize("network", networks.NAMES)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in MANY])
def test_runs_with_its_defaults(name, network):
    x, y = digits.load("test", n=2)
    maps = captum_explainer(name)[1](networks.load(network), x, y)
    assert maps.shape == x.shape
    assert np.isfinite(maps).all()
    assert np.abs(maps).max() > 0


@pytest.mark.parametrize("name", _REFUSED)
def test_is_not_offered(name):
    assert hasattr(captum.attr, name)
    assert name not in METHODS
    with pytest.raises(ValueError, match=f"captum:{name} is not offered: {_REFUSED[name][:12]}"):
        captum_explainer(name.lower())
