"""Figures for a reader: `tables` in a terminal, `page` in a browser.

Knows the values that `assessment` makes and nothing of how they came about.
"""
