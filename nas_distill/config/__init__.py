"""`SearchConfig` and its sections: everything that decides a search, validated on construction.

`config.loading` reads it from YAML files, flags and `--set`.
"""

from nas_distill.config.asha import AshaConfig
from nas_distill.config.assistants import AssistantsConfig
from nas_distill.config.data import FOLDER, Augmentation, CropArea, DataConfig, ViewsConfig
from nas_distill.config.diagnosis import DiagnosisConfig
from nas_distill.config.resources import ExecutionConfig, ResourcesConfig
from nas_distill.config.sampler import SAMPLERS, SamplerConfig, StoppedTrialValue
from nas_distill.config.search import BudgetConfig, PicksConfig, SearchConfig
from nas_distill.config.space import FIXED_RECIPE, SEARCHED_RECIPE, CostBound, SpaceConfig, parse_share
from nas_distill.config.target import TargetConfig
from nas_distill.config.teacher import LOCAL_DIR, RUN, TeacherConfig, default_teacher_recipe, split_run

__all__ = [
    "FIXED_RECIPE",
    "FOLDER",
    "LOCAL_DIR",
    "RUN",
    "SAMPLERS",
    "SEARCHED_RECIPE",
    "AshaConfig",
    "AssistantsConfig",
    "Augmentation",
    "BudgetConfig",
    "CostBound",
    "CropArea",
    "DataConfig",
    "DiagnosisConfig",
    "ExecutionConfig",
    "PicksConfig",
    "ResourcesConfig",
    "SamplerConfig",
    "SearchConfig",
    "SpaceConfig",
    "StoppedTrialValue",
    "TargetConfig",
    "TeacherConfig",
    "ViewsConfig",
    "default_teacher_recipe",
    "parse_share",
    "split_run",
]
