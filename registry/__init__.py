"""What MLflow keeps: a version for each manifest, a run for each variant, the pyfunc that answers for a version."""
