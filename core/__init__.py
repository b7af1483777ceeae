"""What every room stands on: errors, atomic files, paths, the bases of params and records, plugins, progress."""
