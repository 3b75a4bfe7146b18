"""timm entrypoints for architectures that timm cannot build from JSON arguments at small sizes.

Importing this package registers them.
"""

from nas_distill.models.entrypoints import convnext as convnext
from nas_distill.models.entrypoints import efficientnet as efficientnet
from nas_distill.models.entrypoints import efficientvit as efficientvit
from nas_distill.models.entrypoints import ghostnet as ghostnet
from nas_distill.models.entrypoints import mixer as mixer
from nas_distill.models.entrypoints import mobilenet as mobilenet
from nas_distill.models.entrypoints import regnet as regnet
from nas_distill.models.entrypoints import repvgg as repvgg
from nas_distill.models.entrypoints import resnetv2 as resnetv2
from nas_distill.models.entrypoints import swin as swin
