"""The run directory: layout, atomic files, stored configuration and results of trials. No torch."""
