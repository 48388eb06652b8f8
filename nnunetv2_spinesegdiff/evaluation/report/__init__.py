"""From files of masks, labels and gradings to tables, figures and one report."""
