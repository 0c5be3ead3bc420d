"""The daemon around the filter: sockets, workers, resolver, signals, privileges, metrics and logs."""
