"""Presentation of results.

- `tables`: tables for the terminal; `page`: an HTML page; `plots`: figures;
- `comparison`: several runs side by side.

Knows the values that `evaluation` returns, but not how they were computed.
"""
