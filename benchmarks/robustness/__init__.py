"""Programs that try to break the package."""
