"""pyruntime: an OCI container runtime for Linux."""

VERSION = "0.1.0"
