"""What the API takes and gives, one module per subject. Times are RFC 3339 with an offset; lengths name their unit."""
