"""Search spaces of candidates and of recipes: shipped ones and users' own files."""
