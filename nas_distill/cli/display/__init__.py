"""What the command line prints: tables, sections of the report, and the progress of long work."""
