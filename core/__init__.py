"""What every room shares: errors, atomic files, params, the records that cross stages, progress."""
