"""What the teacher says of every view: built once, stored, shared by all trials."""
