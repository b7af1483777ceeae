"""How speed and memory are measured: one fresh process for each side, rounds interleaved, ratios paired by round.

worker.py    the process that loads one model and generates on request (JSON lines over pipes)
side.py      the parent's handle on a worker: start, ask, pause while the other works, stop
rounds.py    interleaved rounds over any number of sides
figures.py   timestamps to percentiles, spreads and paired ratios (pure)
baseline.py  the baseline as a runtime: Hugging Face `generate`
variant.py   one variant against the baseline, resumable, as a `records.Benchmark`
"""
