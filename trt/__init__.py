"""TensorRT engines, ahead of time, in the order of the work: library, profiles, build, inspect, make, engines."""
