"""HTTP Live Streaming of live streams: low-latency fMP4, and plain version 3 MPEG-TS, from one bounded window."""
