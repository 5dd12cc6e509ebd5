"""Presentation of results.

- `tables`: tables for the terminal; `curves`: learning curves of one or several runs;
- `page`: an HTML page; `verdict`, `charts`, `excerpts`: its parts;
- `comparison`: several runs side by side;
- `diagrams`: how recurrent networks work; `text_pictures`: values of a model at each token.

Knows the values that `evaluation` returns, but not how they were computed.
"""
