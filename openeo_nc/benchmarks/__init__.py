"""One module a claim: what the command line's `bench` measures. Imported by nothing else."""
