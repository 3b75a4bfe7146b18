"""Ray: clusters, trials on Tune, and one executor for all other work. Only this folder imports Ray."""
