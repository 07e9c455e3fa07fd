"""What commands read: images, labels, preprocessing, models and weights.

Names are imported when they are used, as most need torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
