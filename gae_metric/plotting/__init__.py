"""Figures: returned as ``matplotlib.figure.Figure``, unknown to pyplot, and saved where asked.

They are one column (3.3 inches) wide where their content allows, readable at that size, and their
colours can be told apart with any of the common kinds of colour vision.

- :func:`curves`: figure 2, output, similarity and difference curves of a sample.
- :func:`impact`: figure 3, image, LeRF sum, MoRF sum, impact map and its sign.
- :func:`mosaic`: figure 4, a mosaic and methods' maps of it.
- :func:`maps`: images in rows and methods in columns, figures 12 and 13.
- :func:`class_maps`: figures 7, 8 and 16, a map for each class of an image.
- :func:`strips`: figures 5, 6, 10 and 15, images side by side and models' maps below them.
- :func:`extremes`: figures 11 and 14, the samples with the highest and the lowest scores.
- :func:`bars`: tables 1-13 as bars with intervals.
- :func:`scatter`: Local Consistency against Contrastiveness, with lines of equal GAE.
- :func:`distribution`: every sample's score.
"""

from gae_metric.plotting.bars import bars as bars
from gae_metric.plotting.bars import distribution as distribution
from gae_metric.plotting.maps import class_maps as class_maps
from gae_metric.plotting.maps import maps as maps
from gae_metric.plotting.sample import curves as curves
from gae_metric.plotting.sample import impact as impact
from gae_metric.plotting.sample import mosaic as mosaic
from gae_metric.plotting.scatter import scatter as scatter
from gae_metric.plotting.strips import Strip as Strip
from gae_metric.plotting.strips import extremes as extremes
from gae_metric.plotting.strips import strips as strips
from gae_metric.plotting.strips import top_and_bottom as top_and_bottom
