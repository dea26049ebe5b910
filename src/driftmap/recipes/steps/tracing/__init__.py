"""How a study of where facts are read is done: facts, noise, traces, averages."""
