"""Presentation of results.

- `tables`: tables for the terminal; `plots`: picture files;
- `page`: an HTML page; `verdict`, `charts`, `excerpts`: its parts;
- `comparison`: several runs side by side.

Knows the values that `evaluation` returns, but not how they were computed.
"""
