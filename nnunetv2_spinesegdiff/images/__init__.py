"""Everything that reads or writes an image.

`reading` and `writing` raise a `UserError` that names the file; functions for one format or check raise a
`Refusal`, which states the cause and what to do, without the file's name.
"""
