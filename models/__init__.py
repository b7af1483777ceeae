"""What a model is: where it comes from, its family, its graph, its variants and the runtimes that serve them."""
