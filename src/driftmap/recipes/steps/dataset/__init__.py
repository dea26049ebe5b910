"""Steps that make other versions of samples."""
