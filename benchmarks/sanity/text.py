"""What the document says besides its numbers."""

HEAD = """\
# Sanity checks of GAE

Written by `python -m benchmarks.sanity` from the small CSV files that it leaves in
`benchmarks/results/sanity`. Everything that is explained is the network's own prediction, and
everything that is drawn (images, mosaics, weights, noise) depends on the seed 0 alone.

{runs}

Digits are held-out ones of scikit-learn's data set on the networks that ship with the package;
photographs are ImageNet's, on SqueezeNet 1.1 and MobileNetV2. Images: number of them; T: states of
the masking trajectory; K: perturbations of each kind in the last check. With few images a test has
little power: the smallest p of a two-sided signed-rank test is 0.031 for 6 images.

![absLRP's GAE as layers are randomised and maps made worse, and meta-consistencies]({picture})

Lines are means of absLRP's GAE with standard errors; bars are means over the networks, points the
networks.
"""

BASELINES = """\
## Maps that know nothing

Random (normal noise), Constant (ones) and Brightness (the absolute input, which depends on the
image and on no network) should score 0; methods stand below for comparison. LC_R and LC_F lie in
[-1, 1], and LC is the positive part of their mean, so that LC_R near -1 is what a map is due that
does not change as the output does (eq. 13-18). Largest: the highest GAE of a single image.
"""

RANDOMISED = """\
## Randomised networks

The network's layers are randomised one after another from the top (Adebayo et al. 2018, "Sanity
checks for saliency maps"), by Quantus's generator of random layers (with one seed for
all layers, so that layers of the same shape get the same weights). Maps explain the randomised
network's logit of the same class, and are scored on the trained network: a method that is faithful
to the network it explains must score lower. In parentheses: randomised layers, normalisation
included; p of the paired signed-rank test between none and all; ρ: Spearman's correlation of the
share of layers and the mean. Parameters that belong to no layer (class token, position embedding)
stay.
"""

DEGRADED = """\
## Maps made worse

The maps of a method, of images, masked images and mosaics alike, are spoilt with growing strength
({kinds}). The wrong class is half the number of classes further, cyclically; a shift is cyclic, to
the right and down; the shuffle hands a pixel's relevance to the next channel. p of the paired
signed-rank test between the unspoilt maps and the worst ones, ρ as above. GradCAM's maps have one
channel, so there is nothing to shuffle.
"""

SEEDS = """\
## Other seeds

A seed draws the mosaics of all images, nothing else, so only contrastiveness changes. s.d. of the
mean: standard deviation of the mean GAE over seeds, which is what two authors may differ by on the
same images; mean s.e.: standard error of the mean over the images, which is what it adds to.
"""

META = """\
## Noise resilience and reactivity

After Hedström et al. 2023 ("The Meta-Evaluation Problem in Explainable AI: Identifying Reliable
Estimators with MetaQuantus", TMLR). Images or parameters are perturbed, images by uniform noise in
±0.001 (minor) or ±5 (disruptive, cut off at the images' range), parameters by factors of mean 1 and
standard deviation 0.001 or 2; then the perturbed network explains the perturbed images, and metrics
score the maps on them.

- IAC_NR, IAC_AR: intra-consistency under noise and adversary. p of Wilcoxon's test between the
  scores before and after, 1 - p for the disruptive perturbation; means over methods.
- IEC_NR, IEC_AR: inter-consistency. Share of ranks among the methods that stay; share of scores
  that become worse.
- Change: mean absolute change of a score under noise, in standard deviations of all scores before.
  A small p says that scores move all the same way, and not that they move far: this says how far.
- MC: their mean, ± standard deviation over the K perturbations. Samples: how many count, since
  their prediction stays (noise) or changes (adversary). All numbers lie in [0, 1], 1 being best.

Equal scores share a rank, so that a metric which gives every method the same score gets the full
IEC_NR, and nothing under adversary. ROAD (MoRF) and LocalLipschitz are better when lower. ROAD
counts how often the prediction is still the class in question: a disruptive perturbation that
changes the prediction leaves it at 0, its best score, whence its IEC_AR. LC and C are GAE's parts.
Focus needs two images of a class; the second one is the image mirrored.
"""

TAIL = """\
### Why not the package `metaquantus`

Its last release on PyPI, 0.0.5 of September 2023, was read and tried beside Quantus 0.6.0: it can
be imported, and its `MetaEvaluation` runs on GAE, ROAD and LocalLipschitz. The definitions are
implemented here instead, on Quantus's metrics and models, for these reasons:

- its input test hands a metric the maps of the images before they were perturbed together with the
  perturbed images, so that GAE would compare maps of two different images;
- noise comes from the global generators of NumPy and torch without a seed, and images are cut off
  at their range from below alone;
- its argument `score_direction` is described as "lower" or "higher", and either of them makes lower
  the better one;
- equal scores, which ROAD and GAE give often, are ranked by an unstable sort, so that ties decide;
- where Wilcoxon's test fails p becomes 0 without a warning, and one score of NaN makes the whole
  result NaN (Focus: a class with a single image);
- it pins `cachetools` 5.3.1, and installs a package `tests` of its own at the top level.

`tests/benchmarks/test_sanity_statistics.py` compares intra- and inter-consistency with those of the
package where that is installed.
"""
