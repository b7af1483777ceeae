"""What the demo, the benchmarks and the tests share: users, free ports, daemons that end with their owner."""
