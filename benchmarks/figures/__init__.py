"""The paper's figures for a run: ``python -m benchmarks figures``.

Scores come from the run's results; maps are computed again, for the samples that are shown alone,
with the run's own models, preprocessing, methods and seed. The *main method* is absLRP, or what the
run has in its place: the method of the highest mean GAE, or the first.

======= ============================================================================================
figure  what it shows here
======= ============================================================================================
2       the main method's output, similarity and difference curves for the sample of the median LC
3       that sample: the image, the impact maps summed along LeRF and MoRF, their difference, its
        sign
4       the mosaic of the median C, and its maps by the main method and by the method of the lowest
        mean C (of those that look at the model)
5, 6    five images of different classes, and the main method's maps: convolutional networks (5),
        vision transformers (6)
7, 8    three images that show two classes, and a map for each class, by up to four methods, those
        of the highest mean C: convolutional networks (7), vision transformers (8)
10      two vision transformers with different token grids on the same images (the paper's: ViT-B/16
        at 384 and ViT-B/32 at 224)
11, 14  the five samples of the highest GAE and the five of the lowest, with the main method's maps:
        convolutional networks (11), vision transformers (14)
12, 13  a few images, and every method's maps: convolutional networks (12), vision transformers (13)
15      the main method's maps of the same images for every model of the run
16      further images that show two classes, and a map for each class by every method
======= ============================================================================================

2-4, 7, 8, 10, 11, 14 and 16 are the paper's kinds of figure; which networks it shows in which of
7, 8 and 16, and in 11 and 14, is a choice made here, and so is all of 5, 6, 12, 13 and 15, for
which the text to hand says no more than that they show maps.

Images that show two classes: of Pascal VOC, those in which the annotation names two and the model
gives weight to both; of other photographs, those of which two halves, each by itself, show the
model two kinds of thing that it also sees in the whole (:mod:`benchmarks.figures.kinds`: of two
breeds of dog the maps would be one); of digits, two of the run's digits on one canvas. How a map
looks has no say in it.
"""
