"""Presentation of results.

- `tables`: tables for the terminal; `page`: an HTML page; `plots`: its figures;
- `curves`: learning curves of one or several runs;
- `comparison`: several runs side by side.

Knows the values that `evaluation` returns, but not how they were computed.
"""
