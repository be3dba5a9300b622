"""What travels: dtypes, tensors, scalars, options, messages."""
