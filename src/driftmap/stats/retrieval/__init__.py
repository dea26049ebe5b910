"""From products of pairs to what is reported of them: numpy and scipy alone."""
