"""The ``hephaestus`` command: one module per subcommand, which reads options, calls the library and prints."""
