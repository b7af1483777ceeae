"""What stage `benchmark` runs, and the commands build on: `variant` says what is measured, against `baseline`.

A model is a `side`: a `worker` process that is stopped while another one works. `rounds` has the sides take turns,
`figures` turns their timestamps into TTFT, ITL and throughput.
"""
