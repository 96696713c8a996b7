"""The C source of nvgen; built on the host that runs it."""
