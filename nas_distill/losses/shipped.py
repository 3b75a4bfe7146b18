"""The shipped losses.

Weights and label weights are those of the papers or of their best-known implementation. `mlkd`, `sp` and `rkd` have
smaller weights: their published ones outweigh the labels when students train for tens of epochs, not hundreds.
"""

from __future__ import annotations

from nas_distill.losses import functional
from nas_distill.losses.adaptive import CurriculumTemperature
from nas_distill.losses.entries import (
    ABOVE_0,
    AT_LEAST_1,
    COUNT,
    SWITCH,
    TEMPERATURE,
    WHOLE,
    LossRegistry,
    Need,
)
from nas_distill.losses.learned import HintRegressor, VariationalRegressor

LOSSES = LossRegistry()

_TEMPERATURE = {"temperature": TEMPERATURE}

LOSSES.register(
    "kd",
    functional.kd,
    weight=0.9,
    label_weight=0.1,
    needs={Need.LOGITS},
    rules=_TEMPERATURE,
    equation="T^2 mean_i KL(softmax(t_i/T) || softmax(s_i/T))",
    paper="Hinton, Vinyals and Dean 2015, arXiv 1503.02531",
)
LOSSES.register(
    "dkd",
    functional.dkd,
    weight=1.0,
    needs={Need.LOGITS, Need.LABELS},
    rules=_TEMPERATURE,
    equation="T^2 mean_i (alpha KL(label, others) + beta KL(softmax over the others))",
    paper="Zhao, Cui, Song, Qiu and Liang 2022, arXiv 2203.08679",
)
LOSSES.register(
    "dist",
    functional.dist,
    weight=1.0,
    needs={Need.LOGITS},
    rules=_TEMPERATURE,
    equation="T^2 (beta mean_i (1 - r(p_i, q_i)) + gamma mean_c (1 - r(p_c, q_c))), r: Pearson's correlation",
    paper="Huang, You, Wang, Qian and Xu 2022, arXiv 2205.10536",
)
LOSSES.register(
    "nkd",
    functional.nkd,
    weight=1.0,
    needs={Need.LOGITS, Need.LABELS},
    rules=_TEMPERATURE,
    equation="mean_i (-p_y log q_y - gamma T^2 sum_{j != y} p'_j log q'_j), p', q' normalised over j != y",
    paper="Yang, Zeng, Li, Zhang, Yuan and Li 2023, arXiv 2303.13005",
)
LOSSES.register(
    "wsld",
    functional.wsld,
    weight=2.25,
    needs={Need.LOGITS, Need.LABELS},
    rules=_TEMPERATURE,
    equation="T^2 mean_i (1 - exp(-CE(s_i, y_i) / CE(t_i, y_i))) H(softmax(t_i/T), softmax(s_i/T))",
    paper="Zhou, Song, Chen, Zhou, Wang, Yuan and Zhang 2021, arXiv 2102.00650",
)
LOSSES.register(
    "ctkd",
    functional.ctkd,
    weight=0.9,
    label_weight=0.1,
    needs={Need.LOGITS},
    learned=CurriculumTemperature,
    rules={"lowest": TEMPERATURE, "curriculum_epochs": ABOVE_0},
    equation="tau^2 mean_i KL(softmax(t_i/tau) || softmax(s_i/tau)), tau = lowest + span sigmoid(theta) maximises it",
    paper="Li, Li, Yang, Zhao, Song, Luo, Li and Yang 2023, arXiv 2211.16231",
)
LOSSES.register(
    "mlkd",
    functional.mlkd,
    weight=0.2,
    needs={Need.LOGITS},
    rules=_TEMPERATURE,
    equation="sum_T (T^2 KL + images ||P P' - Q Q'||^2 / B + classes ||P' P - Q' Q||^2 / C), 5 temperatures",
    paper="Jin, Wang and Lin 2023, doi:10.1109/CVPR52729.2023.02325",
)
LOSSES.register(
    "hint",
    functional.hint,
    weight=100.0,
    needs={Need.FEATURES},
    learned=HintRegressor,
    depth=0.5,
    rules={"relu": SWITCH},
    equation="mean (regressor(s) - t)^2",
    paper="Romero, Ballas, Kahou, Chassang, Gatta and Bengio 2015, arXiv 1412.6550",
)
LOSSES.register(
    "at",
    functional.at,
    weight=1.0,
    needs={Need.FEATURES},
    rules={"power": AT_LEAST_1, "squared": SWITCH},
    equation="mean_i ||A(s_i) - A(t_i)||, A: sum over channels of |x|^power, of length 1",
    paper="Zagoruyko and Komodakis 2017, arXiv 1612.03928",
)
LOSSES.register(
    "sp",
    functional.sp,
    weight=300.0,
    needs={Need.EMBEDDING},
    equation="||G(s) - G(t)||^2 / B^2, G: X X' with rows of length 1",
    paper="Tung and Mori 2019, arXiv 1907.09682",
)
LOSSES.register(
    "rkd",
    functional.rkd,
    weight=0.1,
    needs={Need.EMBEDDING},
    equation="distance mean_ij huber(d_ij(s), d_ij(t)) + angle mean_ijk huber(cos_ijk(s), cos_ijk(t))",
    paper="Park, Kim, Lu and Cho 2019, arXiv 1904.05068",
)
LOSSES.register(
    "pkt",
    functional.pkt,
    weight=30000.0,
    needs={Need.EMBEDDING},
    equation="mean_ij p_ij log(p_ij / q_ij), p, q: (cosine + 1) / 2 with rows that sum to 1",
    paper="Passalis and Tefas 2018, arXiv 1803.10837",
)
LOSSES.register(
    "cc",
    functional.cc,
    weight=1.0,
    needs={Need.EMBEDDING},
    rules={"order": COUNT},
    equation="||K(s) - K(t)||^2 / B^2, K: Taylor series of exp(-gamma ||x - y||^2)",
    paper="Peng, Jin, Liu, Zhou, Wu, Liu, Li and Zhang 2019, arXiv 1904.01802",
)
LOSSES.register(
    "vid",
    functional.vid,
    weight=1.0,
    needs={Need.FEATURES},
    learned=VariationalRegressor,
    rules={"hidden": WHOLE, "variance": ABOVE_0, "floor": ABOVE_0},
    above={"variance": "floor"},
    equation="mean ((regressor(s) - t)^2 / sigma_c^2 + log sigma_c^2) / 2",
    paper="Ahn, Hu, Damianou, Lawrence and Dai 2019, arXiv 1904.05835",
)
LOSSES.register(
    "simkd",
    functional.simkd,
    weight=1.0,
    label_weight=0.0,
    needs={Need.FEATURES},
    uses_teacher_head=True,
    equation="mean (projector(s) - t)^2; the student is backbone, projector and the teacher's classifier",
    paper="Chen, Mei, Zhang, Wang, Feng and Chen 2022, arXiv 2203.14001",
)
