"""Has examples of docstrings shown as code, under whichever heading they stand."""

from griffe import Docstring, Extension, Object


class Examples(Extension):
    """The Google style that Griffe reads says `Examples:`, and a single one is an `Example:`."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        if obj.docstring:
            value = obj.docstring.value.replace("\nExample:\n", "\nExamples:\n")
            obj.docstring = Docstring(value, lineno=obj.docstring.lineno, endlineno=obj.docstring.endlineno, parent=obj)
