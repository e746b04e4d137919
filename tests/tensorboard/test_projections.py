"""Projections of vectors on a plane."""

import numpy as np
import pytest

from jaxdl.tensorboard.projections import pca, tsne

RNG = np.random.default_rng(0)


@pytest.mark.slow
def test_projections_on_a_plane():
    vectors = RNG.normal(size=(40, 6)) * [5, 3, 1, 0.1, 0.1, 0.1]
    from sklearn.decomposition import PCA

    ours, theirs = pca(vectors), PCA(2).fit_transform(vectors)
    np.testing.assert_allclose(abs(ours), abs(theirs), rtol=1e-4, atol=1e-4)
    groups = np.repeat([[0.0] * 6, [20.0] * 6], 20, axis=0) + RNG.normal(size=(40, 6))
    plane = tsne(groups)
    middles = plane[:20].mean(0), plane[20:].mean(0)
    spread = max(plane[:20].std(0).max(), plane[20:].std(0).max())
    assert np.linalg.norm(middles[0] - middles[1]) > 3 * spread  # two groups stay two
    assert not tsne(np.full((20, 3), 7.0)).any()  # a dead layer
    assert tsne(np.arange(6.0)[:, None]).shape == (6, 2)
    for function in (pca, tsne):
        with pytest.raises(ValueError, match="vectors must"):
            function(np.full((5, 3), np.nan))
