"""Networks: timm entrypoints for small images, students, teachers, and their costs.

Importing this package registers the project's entrypoints with timm.
"""

from nas_distill.models import entrypoints as entrypoints
from nas_distill.models import small_resnet as small_resnet
