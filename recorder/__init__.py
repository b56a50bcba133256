"""How media stays: spool, upload, hash chain, verification, playback, meetings. No sockets, no HTTP."""
