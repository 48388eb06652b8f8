"""The paper's tables: a description becomes jobs, what is missing of them is run, and a table is made of it.

Nothing here imports torch: a list of the jobs is there at once.
"""
