"""Pages of docs that are made from the code: ``make docs`` writes them, and `tests/unit/test_docs.py` compares."""
