"""Groups of frozen plans for --policy tgsr (TGSR-style): the search for them and the file they are kept in."""
