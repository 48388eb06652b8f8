"""Sharing of trained models: packed, checked, and opened without trusting them."""
