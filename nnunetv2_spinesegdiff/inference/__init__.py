"""Prediction: the stock predictor with our flags."""
