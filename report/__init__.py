"""The page a person reads: records in, HTML and Markdown out. Nothing here measures or decides."""
