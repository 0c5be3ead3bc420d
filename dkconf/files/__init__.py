"""Files and folders that others may write to as well: opened, read and written so that nobody leads us elsewhere."""
