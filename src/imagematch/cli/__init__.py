"""The `imagematch` command and the two scripts: they parse, call the pipeline, and tell errors in one line."""
