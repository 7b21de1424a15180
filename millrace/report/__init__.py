"""Self-contained pages for the KFP UI and for people: escaped, with everything inline."""
