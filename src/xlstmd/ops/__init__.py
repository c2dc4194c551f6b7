"""What is computed: one folder per operation, pure functions, one state layout each."""
