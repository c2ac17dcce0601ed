"""From a point on the front to a file on a device."""
