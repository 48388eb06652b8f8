"""The paper's tables: jobs of a description, what is missing of them, and the resulting table.

Nothing here imports torch, so that jobs are listed at once.
"""

from pathlib import Path

TABLES = {number: Path(__file__).with_name(f"table{number}.yaml") for number in (1, 2, 5)}
"""Descriptions of tables of the paper."""
