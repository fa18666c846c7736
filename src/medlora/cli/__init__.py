"""The `medlora` command: one file for each subcommand, nothing but asking and showing."""
