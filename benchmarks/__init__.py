"""How fast each variant is. `measure/` is what stage `benchmark` runs: one variant against Hugging Face generate.

Commands that a person starts, whose results are kept in `results/` with their machine and versions: `cpu` (every
variant side by side), `large` (a random model of 0.6 B), `gpu` (every engine on a card), `gpu_drift`, `rollout`,
`serving`.
"""
