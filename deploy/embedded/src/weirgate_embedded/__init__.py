"""weirgate up: everything on one machine, a process each."""
