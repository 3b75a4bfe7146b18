"""Networks: small-image entrypoints for timm, students from specs, the teacher, and what they cost.

Importing this package registers the project's entrypoints with timm.
"""

from nas_distill.models import small_resnet as small_resnet
