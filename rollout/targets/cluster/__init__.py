"""What targets on a cluster share: the Kubernetes API, the objects they apply, pods read as slots."""
