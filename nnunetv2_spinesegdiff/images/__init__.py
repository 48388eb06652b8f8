"""Everything that reads or writes an image. A `UserError` names the file, a `Refusal` does not yet."""
