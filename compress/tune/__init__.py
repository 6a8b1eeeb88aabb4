"""``compress tune``: search for networks and options by measuring exported files."""
