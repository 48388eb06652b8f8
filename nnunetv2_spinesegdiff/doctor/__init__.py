"""What of a machine and its set-up would get in the way, and what to do about it."""
