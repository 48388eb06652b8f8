"""Numbers and pictures of finished predictions. Knows arrays and tables, no torch and no training."""
