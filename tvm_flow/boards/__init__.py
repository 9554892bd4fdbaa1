"""What runs on boards: the RPC server, TVM's runtime libraries, the kit that installs them, and
emulated boards. Nothing is imported here."""
