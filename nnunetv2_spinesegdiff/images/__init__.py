"""Everything that reads or writes an image. A `UserError` names a file, a `Refusal` is one without its name."""
