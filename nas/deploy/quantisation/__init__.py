"""int8 and float16 files: after training, and trained for it."""
