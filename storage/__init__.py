"""Where things are: rows in, rows out; bytes in, bytes out. Knows no media format and no HTTP."""
