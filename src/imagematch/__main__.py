"""`python -m imagematch`: the same as the `imagematch` command."""

from imagematch.cli.main import main

main()
