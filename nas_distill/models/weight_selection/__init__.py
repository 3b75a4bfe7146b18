"""Initial weights of a student, cut out of its teacher's weights."""

from nas_distill.models.weight_selection.cut import initialise_from_teacher
from nas_distill.models.weight_selection.images import CutImages
from nas_distill.models.weight_selection.layout import NetworkLayout, read_layout
from nas_distill.models.weight_selection.legality import selection_misfit, student_layout
from nas_distill.models.weight_selection.options import CutOptions
from nas_distill.models.weight_selection.plan import MisfitError

__all__ = [
    "CutImages",
    "CutOptions",
    "MisfitError",
    "NetworkLayout",
    "initialise_from_teacher",
    "read_layout",
    "selection_misfit",
    "student_layout",
]
