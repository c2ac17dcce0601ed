"""Report on a search: tables, a picture of the front, and one page that says what to make of it."""
