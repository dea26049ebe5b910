"""Steps that trace prompts and compare their profiles."""
