"""RTSP 1.0 (RFC 2326): messages, session descriptions, log-in, client and server."""
