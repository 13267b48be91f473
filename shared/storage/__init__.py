"""Places that hold files, local or remote, and writing to them so that a file is whole or absent."""
