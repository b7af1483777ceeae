"""One variant against the reference on the runtime that serves it: what `stages.evaluate` calls.

systems   what answers: the original in torch, a variant on its runtime
answers   their answers, made chunk by chunk, kept in a content-addressed cache
forced    teacher forcing on the reference's outputs, kept batch by batch
pairs     both answers to one item, scored
run       the sequential comparison, and its record; the other figures of it are files in drift/metrics/
"""
