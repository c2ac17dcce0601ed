"""What networks cost on a device: tables, and how they are made."""
