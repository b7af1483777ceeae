"""TensorRT engines, ahead of time, one step a file: graph, half; library, profiles, memory, build, inspect, make."""
