"""Any table, without code."""
