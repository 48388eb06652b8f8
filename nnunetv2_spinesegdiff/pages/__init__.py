"""HTML pages of one file: style, script, and tables that a reader can sort."""
