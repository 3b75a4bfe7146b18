"""nas_distill: finds the student.

Given a fixed teacher network and a data set, searches timm-defined architectures; every candidate is distilled
from that teacher, and a Pareto analyzer picks the students that balance size against the capacity gap.
"""

__version__ = "0.1.0"
