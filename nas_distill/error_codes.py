"""The stable codes of all user errors and their meaning; `docs/reference/error-codes.md` is generated from them.

A code is `area.rule`. It never changes once released; the wording of a message may.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_CONFIG: dict[str, str] = {
    "config.conflicting_values": "Two values of the configuration contradict each other.",
    "config.duplicate_key": "A YAML mapping has the same key twice.",
    "config.fixed_in_run": "A resumed run cannot change this section of its configuration.",
    "config.invalid_value": "A value has the wrong type or is out of range.",
    "config.key_not_text": "A key of a YAML mapping is not text.",
    "config.loss_not_in_effect": "`--set` edits a loss that the recipe does not use.",
    "config.no_trade_off": "The objectives lack a quality or a cost.",
    "config.not_a_mapping": "A configuration is not a mapping of keys to values.",
    "config.not_a_section": "A key goes below a value that is not a section.",
    "config.not_an_assignment": "A text is not of the form KEY=VALUE.",
    "config.not_utf8": "A configuration file is not UTF-8 text.",
    "config.not_yaml": "A text is not valid YAML 1.2.",
    "config.objective_count": "There are fewer than two objectives, or more than four.",
    "config.objective_not_recorded": "Trials do not record the number of a registered objective.",
    "config.objective_without_reference": "A registered quality has no reference value for the hypervolume.",
    "config.recursive_anchor": "A YAML anchor contains itself.",
    "config.repeated_objective": "An objective is listed twice.",
    "config.rung_after_last_epoch": "A rung of early stopping is not below the number of epochs.",
    "config.teacher_missing": "Data other than digits need a teacher.",
    "config.unknown_key": "The configuration has no such key.",
    "config.unknown_objective": "No objective has this name.",
    "config.unreadable": "A configuration file cannot be read.",
    "config.yaml_tag": "YAML tags are not allowed.",
    "config.yaml_too_large": "A YAML text is nested too deeply, or aliases expand it to too many values.",
}

_DATA: dict[str, str] = {
    "data.ambiguous_columns": "A Hugging Face data set does not have exactly one image column and one label column.",
    "data.ambiguous_split_folders": "Two folders hold the same split, such as val/ and validation/.",
    "data.changed": "The images or data settings differ from those that the run directory was prepared from.",
    "data.class_too_small_to_split": "A class has too few images to be in both parts of a split.",
    "data.class_without_images": "A class has no training image.",
    "data.classes_differ_between_splits": "Two splits of a folder have different class folders.",
    "data.damaged_cache": "A file of cached decoded images is missing, damaged or of another shape.",
    "data.damaged_splits": "The file split.npz is missing or damaged.",
    "data.label_out_of_range": "A label is not the number of a class.",
    "data.limit_below_classes": "A limit on the number of images is below the number of classes.",
    "data.missing_package": "The image source needs a Python package that is not installed.",
    "data.missing_root": "The image source is read from a folder, but data.root is not set.",
    "data.no_class_folders": "A folder of images has no class folders.",
    "data.no_disk_space": "The disk has no room for the decoded images.",
    "data.no_folder": "The folder of images does not exist or is a file.",
    "data.no_train_folder": "A folder has validation or test images but no training images.",
    "data.no_train_split": "A data set has no labelled training split.",
    "data.not_square": "The images are not square and data.image_size is not set.",
    "data.single_class": "The images have fewer than two classes.",
    "data.size_mismatch": "The images differ in size and data.image_size is not set.",
    "data.source_not_opened": "timm cannot open the data set, for example because its files are missing.",
    "data.split_without_images": "The folder of a split contains no images.",
    "data.too_few_images_for_folds": "A class has fewer training images than there are folds.",
    "data.too_few_images_to_split": "A part of a split would have fewer images than there are classes.",
    "data.unknown_source": "The image source has an unknown kind.",
    "data.unknown_torchvision_name": "The name is not a torchvision data set that timm can open.",
    "data.unreadable_folder": "A folder or file of images cannot be listed.",
    "data.unreadable_image": "An image file is damaged or has an unknown format.",
    "data.unsupported_pixels": "An image has 32-bit pixels, which have no fixed range.",
    "data.use_folder_source": "The images should be given as folder:PATH.",
    "data.views_padding_too_large": "views.crop_padding is not below the image size.",
}

_KNOWLEDGE: dict[str, str] = {
    "knowledge.damaged_file": "A file of stored teacher outputs is missing or damaged.",
    "knowledge.embeddings_not_stored": "The teacher's embeddings are needed but not stored.",
    "knowledge.feature_maps_not_stored": "The teacher's feature maps are needed, which are never stored.",
    "knowledge.no_disk_space": "The disk has no room for the teacher's outputs.",
    "knowledge.not_deterministic": "The teacher returns different logits for the same images.",
    "knowledge.not_stored": "The teacher's outputs cannot be written to the disk.",
    "knowledge.other_outputs": "A stored file belongs to another teacher, other data or other views.",
    "knowledge.out_of_memory": "The device has no memory for the teacher and one image.",
    "knowledge.output_out_of_range": "The teacher returns NaN, infinities or numbers beyond float16.",
    "knowledge.wrong_receipt": "A receipt lists other files or another view than expected.",
}

_MODELS: dict[str, str] = {
    "models.architecture_unknown": "timm has no architecture with this name.",
    "models.candidate_not_buildable": "The constructor of a candidate's architecture rejects its arguments.",
    "models.channels_mismatch": "The network takes another number of input channels than the data have.",
    "models.checkpoint_missing": "The checkpoint file does not exist.",
    "models.checkpoint_needed": "A timm architecture as a teacher needs a checkpoint with weights for these classes.",
    "models.classes_mismatch": "The teacher has other classes than the data, or has them in another order.",
    "models.cut_misfit": "A student that starts from the teacher's weights is not a smaller form of the teacher.",
    "models.full_float32_unavailable": "Another component set torch's precision API in a way that rules out float32.",
    "models.image_size_rejected": "The network cannot process images of this size.",
    "models.normalisation_unknown": "A network or a trial's result does not say how its images are normalised.",
    "models.output_missing": "A loss compares an embedding or a feature map that the network does not provide.",
    "models.output_shape_wrong": "The network does not return one logit per class and image.",
    "models.pickle_not_trusted": "Pickled weights can run any code and are opened only with --trust-pickle.",
    "models.pretrained_unavailable": "timm's pretrained weights cannot be loaded.",
    "models.reserved_argument": "A candidate sets a constructor argument that the data or the recipe decide.",
    "models.run_unreadable": "The run that a `run:RUN/TRIAL` teacher names is missing or has damaged records.",
    "models.student_not_rebuildable": "The student of a run cannot be built again from its recorded specification.",
    "models.teacher_head_unusable": "The teacher's classifier does not work on the pooled feature map alone.",
    "models.teacher_not_loadable": "A local-dir folder is not a network that timm can load.",
    "models.trial_not_complete": "The trial has not ended, or has not trained a student to its end.",
    "models.two_weight_sources": "Weights or arguments are given next to a model that already includes them.",
    "models.uses_teacher_head": "A student that uses its own teacher's classifier cannot be a teacher.",
    "models.weights_mismatch": "Weights do not fit the network that they are loaded into.",
    "models.weights_unreadable": "The file with a student's weights cannot be read.",
}

_LOSSES: dict[str, str] = {
    "losses.adaptation_without_loss": "`recipe.adaptive` changes a setting, but the recipe has no teacher loss.",
    "losses.batch_mismatch": "Student and teacher features are of different numbers of images.",
    "losses.control_with_others": "The control `none` cannot be combined with teacher losses.",
    "losses.control_with_parameters": "The control `none` has no parameters.",
    "losses.needs_feature_map": "A loss of feature maps got features of another shape.",
    "losses.parameter_out_of_range": "The value of a loss parameter breaks the parameter's rule.",
    "losses.parameter_unknown": "The loss has no parameter with this name.",
    "losses.patience_with_temperature_schedule": "`teacher_patience` needs a constant temperature.",
    "losses.release_needs_logit_losses": "Per-class release works only with losses of logits.",
    "losses.release_with_mixing": "Per-class release needs images of one class, so it excludes mixed images.",
    "losses.shape_mismatch": "Student and teacher tensors have different shapes.",
    "losses.temperature_missing": "A temperature schedule needs a loss with a fixed temperature.",
    "losses.unknown": "No registered loss has this name.",
}

_TRAIN: dict[str, str] = {
    "train.mix_not_stored": "The teacher's outputs for the recipe's mixed images are not stored.",
    "train.mix_with_folds": "A recipe that mixes images cannot be scored on folds of the training split.",
    "train.checkpoint_damaged": "A checkpoint file cannot be read.",
    "train.holdout_too_small": "Per-class release would hold out too few images of every class to release any.",
    "train.loss_not_finite": "The training loss became NaN or infinite.",
    "train.out_of_memory": "The device has too little memory for the smallest part of a batch.",
    "train.optimizer_needs_second_derivatives": "The optimiser needs second derivatives, which are not computed.",
    "train.optimizer_unavailable": "The optimiser cannot be created on this machine.",
    "train.optimizer_unknown": "timm has no optimiser with this name.",
    "train.outputs_not_finite": "The network's logits became NaN or infinite.",
    "train.step_failed": "torch could not run the training steps of this network.",
    "train.teacher_exists": "The output folder already holds a trained teacher.",
    "train.teacher_training_failed": "The training of a teacher failed.",
    "train.teacher_with_losses": "A teacher is trained without distillation losses.",
    "train.teacher_not_buildable": "The architecture of the teacher cannot be built, or cannot process the images.",
}

_RUN: dict[str, str] = {
    "run.damaged_config": "The run's `config.yaml` cannot be read as a configuration.",
    "run.disk_full": "A file cannot be written because the disk or a quota is full.",
    "run.not_repairable": "`repair` found a damaged file that nothing can restore and that the run needs.",
    "run.read_only": "A file cannot be written because its file system is read-only.",
    "run.damaged_record": "A stored record is not valid JSON, lacks a field, or violates a rule.",
    "run.foreign_result": "A stored result belongs to another task than the one at hand.",
    "run.locked": "Another process is using the run directory.",
    "run.missing": "The folder holds no run.",
    "run.not_a_directory": "The run directory cannot be created or entered.",
    "run.other_version": "The run was written by another version of nas_distill, whose files differ.",
    "run.trial_not_in_study": "The run directory holds a trial that its study does not have.",
    "run.unreadable_file": "A file of the run cannot be read.",
    "run.unwritable_file": "A file of the run cannot be written.",
    "run.foreign_assistant_plan": "The plan of assistants names trials that the study does not hold.",
}

_STUDY: dict[str, str] = {
    "study.damaged_trial": "The study holds a trial whose JSON is damaged or incomplete.",
    "study.not_replaced": "A shared database already holds a study of the name under which a study is built again.",
    "study.incomplete": "The study lacks trials that the run directory holds.",
    "study.locked": "Another program holds a lock on the study's database for too long.",
    "study.missing": "The storage holds no study, or no study of this name.",
    "study.other_fingerprint": "The study was searched with other data, epochs, space or recipes.",
    "study.other_objectives": "The study was searched for other objectives.",
    "study.other_teacher": "The study was searched with another teacher.",
    "study.other_writer": "Another program adds trials to the study while a search runs.",
    "study.read_only": "The study's database cannot be written.",
    "study.storage_failed": "The study's database reports an error.",
    "study.storage_url": "The storage is not a database URL.",
}

_SPACE: dict[str, str] = {
    "space.exhausted": "The sampler proposes no candidate that was not tried before.",
    "space.image_size": "The images are smaller or larger than those that a space is for.",
    "space.initial_weights_unfit": "A candidate cannot start from the initial weights that were chosen or allowed.",
    "space.loss_unavailable": "A recipe space chose a loss whose teacher outputs this search does not have.",
    "space.misfit": "A space cannot propose candidates for the data or the teacher of this search.",
    "space.mix_unavailable": "A recipe space chose an image mixing for which this search has no teacher outputs.",
    "space.no_candidate": "Too many proposals in a row were rejected; none of them was a repetition.",
    "space.no_function": "The file of a space has no function of the given name.",
    "space.raised": "The function of a space raised an exception.",
    "space.recipe_fixed_field": "A recipe space changed a recipe field that all trials of a search share.",
    "space.signature": "The function of a space does not take the arguments that a search passes.",
    "space.unknown": "No space has the given name.",
    "space.wrong_info": "The constant `INFO` of a space is not a `SpaceInfo`.",
    "space.wrong_type": "The function of a space returned an object of the wrong type.",
}

_SEARCH: dict[str, str] = {
    "search.fewer_trials_than_run": "The new number of trials is smaller than the number that the run already has.",
    "search.file_unreadable": "A file that the configuration names cannot be read.",
    "search.folds_with_mixing": "Cross-validation is not possible, because every recipe mixes images.",
    "search.import_failed": "A Python file or module that the configuration names cannot be imported.",
    "search.loss_needs_online_teacher": "A loss compares feature maps, which only an online teacher provides.",
    "search.not_a_sampler": "The name of a sampler does not lead to a class derived from Optuna's `BaseSampler`.",
    "search.path_not_allowed": "The path of a run directory contains a character that a database URL cannot contain.",
    "search.point_parameter": "An initial point names a parameter that the space does not suggest.",
    "search.point_repeated": "An initial point is given twice.",
    "search.point_value": "A value of an initial point is outside the distribution of its parameter.",
    "search.points_empty": "The run that initial points are read from has no fully trained student.",
    "search.points_format": "The file of initial points is not a list of mappings of parameter names to plain values.",
    "search.recipe_without_assistants": "Assistants cannot teach with the configuration's recipe.",
    "search.rule_objectives": "An early-stopping rule cannot compare trials by the objectives of the search.",
    "search.run_exists": "The run directory of a new search already holds a run.",
    "search.sampler_constructor_failed": "The constructor of a sampler raised an exception.",
    "search.sampler_failed": "A sampler raised an exception.",
    "search.sampler_proposal": "A sampler proposed a value of the wrong type or outside its distribution.",
    "search.study_exists": "The storage already holds trials of a study of this name.",
    "search.teacher_changed": "The weights of the run's teacher differ from those that were measured.",
    "search.unknown_rule": "No early-stopping rule has the given name.",
    "search.unused_setting": "A setting has no effect beside the other settings.",
}

_CLUSTER: dict[str, str] = {
    "cluster.already_connected": "The process is connected to a Ray cluster already.",
    "cluster.memory_not_measured": "The GPU memory of a trial could not be measured.",
    "cluster.path_not_shared": "A worker sees other files at the run directory's path than the driver.",
    "cluster.ray_failed": "Ray itself failed during the search.",
    "cluster.trial_does_not_fit": "No node of the cluster is large enough for one trial.",
    "cluster.unreachable": "The Ray cluster cannot be joined or started.",
    "cluster.workers_died": "Workers died more often than `resources.max_failures` allows.",
}

_CONFIRM: dict[str, str] = {
    "confirm.bad_fold_count": "The number of folds is 1 or negative.",
    "confirm.folds_with_mixing": "A recipe mixes images, so its student cannot be scored on folds.",
    "confirm.no_seeds": "The number of repetitions is below 1.",
    "confirm.no_student": "The search has no fully trained student to confirm.",
    "confirm.no_test_images": "The data have no test images to confirm on.",
    "confirm.other_data": "The run's data are not those that its teacher was measured on.",
    "confirm.other_teacher": "The run's teacher is not the one that its trials were distilled from.",
    "confirm.trial_not_trained": "A trial that is to be confirmed has no fully trained student.",
    "confirm.unknown_pick": "A pick to confirm is neither a pick rule, `front` nor a trial number.",
}

_ANALYSIS: dict[str, str] = {
    "analysis.gap_tolerance_not_a_number": "A gap tolerance is not a finite number of percentage points.",
    "analysis.pick_without_student": "A pick rule chooses no student in this run.",
    "analysis.unknown_pick": "No pick rule has this name.",
    "analysis.constant_gap": "All students have the same gap, so no capacity law can be fitted.",
    "analysis.count_too_small": "A number of repetitions or resamples is below its minimum.",
    "analysis.filter_column_not_recorded": "A column of a filter was recorded for no trial.",
    "analysis.filter_syntax": "A filter is not a condition in the supported syntax.",
    "analysis.filter_types": "A filter compares text with a number, or orders text.",
    "analysis.filter_unknown_column": "A filter names a column that does not exist.",
    "analysis.level_out_of_range": "A level is not a probability between 0 and 1.",
    "analysis.no_match": "No fully trained student matches the filter.",
    "analysis.no_student": "No student was trained to the end.",
    "analysis.not_finite": "A number is NaN or infinite.",
    "analysis.not_positive": "A number is not positive and finite.",
    "analysis.nothing_held_out": "No student is larger than those that the law is fitted to.",
    "analysis.objective_not_recorded": "An objective was recorded for no student.",
    "analysis.objectives_differ": "The runs have different objectives, and none were chosen to compare them by.",
    "analysis.size_not_recorded": "The size was recorded for too few students.",
    "analysis.tolerance_out_of_range": "A tolerance is negative, NaN or infinite.",
    "analysis.too_few_sizes": "The students have too few different sizes for a capacity law.",
    "analysis.too_few_students": "The run has too few fully trained students for a capacity law.",
    "analysis.unknown_name": "A family, size or objective does not exist.",
}

_EXPORT: dict[str, str] = {
    "export.damaged_file": "A file of an export differs from the one that was written.",
    "export.format_missing": "An export does not have the requested format.",
    "export.missing_package": "A format needs a Python package that is not installed.",
    "export.not_an_export": "The folder holds neither an export nor, where one is allowed, a run.",
    "export.not_equal": "An exported file does not compute what the student computes in PyTorch.",
    "export.pickle_in_file": "A file of torch.export contains a pickle, which can run any code.",
    "export.target_exists": "The folder of an export exists already.",
    "export.unknown_class": "The images to evaluate on have a class that the student does not know.",
    "export.unknown_format": "No export format has this name.",
    "export.unreadable_file": "The runtime of a format cannot open an exported file.",
}

_CLI: dict[str, str] = {
    "cli.conflicting_options": "Two options are given that exclude each other.",
    "cli.empty_path": "An option that names a folder is empty.",
    "cli.given_twice": "A run or a name is given twice.",
    "cli.machine_check_failed": "A check of `doctor` failed.",
    "cli.no_complete_trial": "No trial of the search completed.",
    "cli.not_a_folder": "The path of the run directory is a file.",
    "cli.not_a_number": "The value of an option is not a number.",
    "cli.not_a_pair": "An option is not of the form NAME=VALUE.",
    "cli.not_with_resume": "An option cannot change in an existing run.",
    "cli.run_exists": "The output folder already contains a run.",
    "cli.system_error": "The operating system reports an error, such as a missing permission.",
    "cli.unknown_loss": "No loss has this name.",
    "cli.usage": "A command or option is unknown, or an argument is missing or of the wrong type.",
    "report.unknown_trial": "The run has no trial with this number.",
}

CODES: Mapping[str, str] = MappingProxyType(
    _CONFIG | _DATA | _KNOWLEDGE | _MODELS | _LOSSES | _TRAIN | _RUN | _STUDY | _SPACE | _SEARCH | _CLUSTER | _CONFIRM
    | _ANALYSIS | _EXPORT | _CLI
)  # fmt: skip
"""Code -> meaning, one sentence."""
