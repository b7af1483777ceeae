"""What the demo, the benchmarks and the tests share to rehearse a rollout with.

`processes` (free ports, waiting until one answers, ending with their owner), `local_target` (gateway and slots of
one's own), `mlflow_server`, `traffic` (users), `switching` (rollouts under load, without the controller). And
`planted`: broken versions, to see which gate stops each.
"""
