"""Trained models handed on: packed, checked, and opened without trusting them."""
