"""Everything before the first trial: checks of the configuration, data, teacher, stored outputs, workers."""
