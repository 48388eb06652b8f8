"""Prediction: the stock predictor with SpineSegDiff options."""
