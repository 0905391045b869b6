"""What becomes of the rows: the parts of clean.py, which the ledger counts again with."""
