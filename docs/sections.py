"""Has the examples of docstrings shown as code."""

from griffe import Extension, Object


class Examples(Extension):
    """In the Google style as Griffe reads it their heading is `Examples:`, of a single one too."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        if obj.docstring:
            obj.docstring.value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
