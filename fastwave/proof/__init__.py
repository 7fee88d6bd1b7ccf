"""What a kernel must show on a GPU before `auto` uses it: run by `runtime.prover` in a process of its own."""
