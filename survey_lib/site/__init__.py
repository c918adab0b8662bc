"""The generated pages: method cards, figures, literature, library, README tables."""
