"""The same chain on measurements of other systems, with labels of other people: docs/interfaces.md, section 7."""
